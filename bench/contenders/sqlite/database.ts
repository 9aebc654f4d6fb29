/** The file that every SQLite contender reads and writes, and what is to be found in it. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"

/** How many items there are. */
export const rows = 10_000

/** A row of the table; the one with `id` has `id * 2` in `n`. */
export interface Item {
  readonly id: number
  readonly name: string
  readonly n: number
}

export const select = "select id, name, n from item where id = ?"

/** Changes a row to what it was. */
export const update = "update item set n = n where id = ?"

/** Looks at each item so many times, and counts those with a nine in their name. A thousand times take about half a second. */
export const scanOf = (times: number): string =>
  `with recursive time(k) as (select 1 union all select k + 1 from time where k < ${times})
  select count(*) as n from time, item where name like '%9%'`

const scans = 40

/** About 20 ms. */
export const scan = scanOf(scans)

/** What a scan counts. */
export const scanned = scans *
  Array.from({ length: rows }, (_, id) => String(id + 1)).filter((id) => id.includes("9")).length

/** All items, in five columns. */
export const items = "select id, name, n, n * 0.5 as half, name || '!' as shout from item"

/** How many that are. */
export const itemCount = rows

/** Adds a row to the table of what was written, which is empty at first. */
export const insert = "insert into entry(n) values (?)"

/** When a commit waits for the disk: always, or only when the log is moved to the file. */
export type Synchronous = "full" | "normal"

/** How `pragma synchronous` says it. */
export const synchronousCode: Readonly<Record<Synchronous, number>> = { normal: 1, full: 2 }

/** The key of the row that is read in that turn: all of them, in an order of no use to a cache of pages. */
export const keyOf = (turn: number): number => (turn * 7919) % rows + 1

/** What so many reads, each with the key of its turn, come to. */
export const sumOf = (reads: number): number => {
  let sum = 0
  for (let turn = 0; turn < reads; turn++) sum += keyOf(turn) * 2
  return sum
}

/** Opens something on a new file of its own, which is deleted when it is closed. */
export const onFile = async <A extends { readonly close: () => Promise<void> }>(
  open: (filename: string) => Promise<A>
): Promise<A> => {
  const folder = mkdtempSync(join(tmpdir(), "bench-sqlite-"))
  const filename = join(folder, "bench.db")
  fill(filename, rows)
  const opened = await open(filename)
  return {
    ...opened,
    close: async () => {
      await opened.close()
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

/** Makes such a file, which does not wait for the disk. */
export const fill = (filename: string, items: number): void => {
  const database = new DatabaseSync(filename)
  database.exec(`
    pragma synchronous = off;
    pragma journal_mode = wal;
    create table item(id integer primary key, name text not null, n integer not null);
    create table entry(id integer primary key, n integer not null);
    with id(id) as (select 1 union all select id + 1 from id limit ${items})
    insert into item select id, 'item ' || id, id * 2 from id;
    pragma wal_checkpoint(truncate);
  `)
  database.close()
}
