/**
 * Looks up what queries read besides the tables that SQLite names: a virtual table may read any others.
 *
 * A full-text table reads its own tables, and the table of its `content` option, with statements that SQLite compiles once
 * for each connection. So all tables that such statements have read count as read by each query of a full-text table.
 */
import { quoteName } from "../sql/demands.ts"
import { everything, isSchemaTable, type Reads, tableOf, type Tables } from "../sql/tables.ts"
import type { Database } from "./database.ts"

/** What the statements with these tables read on a connection. Throws the errors of Node. */
export const readsOf = (database: Database, all: Iterable<Tables>): Reads => {
  const keys = new Set<string>()
  for (const tables of all) {
    tables.reach ??= reachOf(database, tables.reads)
    if (tables.reach === "unknown") return everything
    for (const key of tables.reads) keys.add(key)
    if (tables.reach === "own") continue
    for (const key of database.authorizer.readWhileRunning) keys.add(key)
  }
  return { isEverything: false, keys }
}

const reachOf = (database: Database, reads: ReadonlySet<string>): NonNullable<Tables["reach"]> => {
  const names = new Set(Array.from(reads, tableOf))
  if (names.size === 0) return "own"
  // SQLite changes such tables without naming them. But each change of the schema concerns every query.
  for (const name of names) if (name.startsWith("sqlite_") && !isSchemaTable(name)) return "unknown"
  const list = `(${Array.from(names, (name) => `'${name.replaceAll("'", "''")}'`).join(", ")})`
  const left = new Set(names)
  let reach: "own" | "virtual" = "own"
  for (const [schema] of database.ask("select name from pragma_database_list")) {
    const found = database.ask(
      "select lower(name), case when rootpage = 0 and type = 'table' then sql end " +
        `from ${quoteName(String(schema))}.sqlite_schema where type in ('table', 'view') and lower(name) in ${list}`
    )
    for (const [name, sql] of found) {
      left.delete(String(name))
      if (typeof sql !== "string") continue
      if (!knownModule.test(sql)) return "unknown"
      reach = "virtual"
    }
  }
  if (left.size === 0) return reach
  const modules = database.ask(`select lower(name) from pragma_module_list where lower(name) in ${list}`).flat()
  for (const name of left) if (!isKnown(name, modules)) return "unknown"
  return reach
}

/** Modules whose tables read only their own tables, and tables that they read with statements. */
const knownModule = /\busing\s+["'`[]?(?:fts[345]|rtree|rtree_i32|geopoly)["'`\]]?\s*(?:\(|$)/i

/** Whether it is known what a name stands for that is in no schema. */
const isKnown = (name: string, modules: ReadonlyArray<unknown>): boolean => {
  if (name.startsWith("pragma_")) return pragmasOfSchema.has(name.slice("pragma_".length))
  // A name that is no module is a table that holds a schema, or one of a common table expression.
  return !modules.includes(name) || name === "json_each" || name === "json_tree"
}

/** Pragmas whose answer changes only with the schema, or whose changes SQLite reports: see `storedPragmas`. */
const pragmasOfSchema: ReadonlySet<string> = new Set([
  "application_id",
  "collation_list",
  "compile_options",
  "database_list",
  "foreign_key_list",
  "function_list",
  "index_info",
  "index_list",
  "index_xinfo",
  "module_list",
  "pragma_list",
  "schema_version",
  "table_info",
  "table_list",
  "table_xinfo",
  "user_version"
])
