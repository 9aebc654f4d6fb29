/** The violations of foreign keys in a database, to find those that a transaction has caused. */
import type { ForeignKeyViolation } from "../../SqlitePoolError.ts"
import type { Handle } from "./handle.ts"

/** The number of times that each violation exists. */
export type Census = ReadonlyMap<string, number>

/** The violations that a transaction has caused: how many, and the first of them. */
export interface Violations {
  readonly count: number
  readonly violations: ReadonlyArray<ForeignKeyViolation>
}

/** A row that refers to a missing row. Its `key` does not change when the table is rebuilt. */
interface Orphan {
  readonly key: string
  readonly violation: ForeignKeyViolation
}

export const census = (handle: Handle): Census => {
  const counts = new Map<string, number>()
  for (const { key } of orphansOf(handle)) counts.set(key, (counts.get(key) ?? 0) + 1)
  return counts
}

/** The violations that are not in `before`. */
export const newViolations = (handle: Handle, before: Census): Violations => {
  const left = new Map(before)
  const violations: Array<ForeignKeyViolation> = []
  let count = 0
  for (const { key, violation } of orphansOf(handle)) {
    const known = left.get(key) ?? 0
    if (known > 0) left.set(key, known - 1)
    else {
      count++
      if (violations.length < mostReported) violations.push(violation)
    }
  }
  return { count, violations }
}

const mostReported = 20

function* orphansOf(handle: Handle): Iterable<Orphan> {
  const groups = new Map<
    string,
    { readonly table: string; readonly id: bigint; readonly rowids: Array<bigint | null> }
  >()
  const found = rows(handle, "select \"table\", rowid, fkid from pragma_foreign_key_check")
  for (const [table, rowid, id] of found as Array<[string, bigint | null, bigint]>) {
    const name = `${id} ${table}`
    const group = groups.get(name)
    if (group === undefined) groups.set(name, { table, id, rowids: [rowid] })
    else group.rowids.push(rowid)
  }
  for (const { id, rowids, table } of groups.values()) {
    const key = keyOf(handle, table, id)
    const values = valuesOf(handle, table, key.columns, rowids)
    for (const rowid of rowids) {
      const value = rowid === null ? undefined : values.get(rowid)
      yield {
        key: JSON.stringify([table.toLowerCase(), key.parent.toLowerCase(), key.columns, value ?? null]),
        violation: {
          table,
          ...(rowid === null ? undefined : { rowid: toNumber(rowid) }),
          parent: key.parent,
          columns: key.columns,
          ...(value === undefined ? undefined : { values: value })
        }
      }
    }
  }
}

interface ForeignKey {
  readonly parent: string
  readonly columns: ReadonlyArray<string>
}

/** `foreign_key_check` looks at the tables of the file. Without the `main`, a temporary table would hide the one of its name. */
const keyOf = (handle: Handle, table: string, id: bigint): ForeignKey => {
  const found = rows(
    handle,
    "select \"table\", \"from\" from pragma_foreign_key_list(?, 'main') where id = ? order by seq",
    [table, id]
  ) as Array<[string, string]>
  return { parent: found[0]![0], columns: found.map(([, from]) => from) }
}

/** The values of the columns, as SQL writes them. Empty for a table without rowids. */
const valuesOf = (
  handle: Handle,
  table: string,
  columns: ReadonlyArray<string>,
  rowids: ReadonlyArray<bigint | null>
): ReadonlyMap<bigint, ReadonlyArray<string>> => {
  const rowid = rowidOf(handle, table)
  if (columns.length === 0 || rowid === undefined || rowids.includes(null)) return new Map()
  const found = rows(
    handle,
    `select ${rowid}, ${columns.map((column) => `quote(${quoted(column)})`).join(", ")} from main.${quoted(table)} ` +
      `where ${rowid} in (select value from json_each(?))`,
    [`[${rowids.join(",")}]`]
  ) as Array<[bigint, ...Array<string>]>
  return new Map(found.map(([rowid, ...values]) => [rowid, values]))
}

/** The name of the rowid in SQL. A column may hide one or all of the names. */
const rowidOf = (handle: Handle, table: string): string | undefined => {
  const columns = rows(handle, "select lower(name) from pragma_table_xinfo(?, 'main')", [table])
  const taken = new Set(columns.map(([name]) => name))
  return ["rowid", "_rowid_", "oid"].find((name) => !taken.has(name))
}

const rows = (handle: Handle, sql: string, params?: ReadonlyArray<string | bigint>): Array<Array<unknown>> =>
  handle.rows("foreign_key_check", sql, params, true, true) as Array<Array<unknown>>

const quoted = (name: string): string => `"${name.replaceAll("\"", "\"\"")}"`

const toNumber = (rowid: bigint): number | bigint =>
  rowid >= Number.MIN_SAFE_INTEGER && rowid <= Number.MAX_SAFE_INTEGER ? Number(rowid) : rowid
