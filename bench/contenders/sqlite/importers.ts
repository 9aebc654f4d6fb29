/** Ways to import many rows in one transaction. */
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Effect, Stream } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import { DatabaseSync } from "node:sqlite"
import type { Sqlite } from "../../library.ts"
import { scoped } from "../scoped.ts"
import type { SqliteContender } from "./client.ts"
import type { Synchronous } from "./database.ts"

export type Row = readonly [id: number, name: string, amount: number]

export interface Importer {
  /** Makes an empty table. */
  readonly prepare: () => Promise<void>
  readonly run: (rows: Iterable<Row>) => Promise<void>
  readonly close: () => Promise<void>
}

const insert = "insert into imported values (?, ?, ?)"

const empty = `
  drop table if exists imported;
  create table imported(id integer primary key, name text not null, amount real not null);
`

/** How many rows a statement of Effect's client has: as many as its users give it at once. */
const rowsInStatement = 1000

export const importers = (library: Sqlite, synchronous: Synchronous): ReadonlyArray<SqliteContender<Importer>> => [
  { name: "ours: batch", open: ours(library, synchronous) },
  { name: "node:sqlite", open: bare(synchronous) },
  { name: "@effect/sql-sqlite-node: sql", open: original(synchronous) }
]

const ours = (sqlite: Sqlite, synchronous: Synchronous) => async (filename: string): Promise<Importer> => {
  const { close, value: pool } = await scoped(sqlite.SqlitePool.make({ filename, synchronous }))
  return {
    prepare: () =>
      Effect.runPromise(
        Effect.asVoid(Effect.andThen(pool.write((connection) => connection.exec(empty)), pool.checkpoint()))
      ),
    run: (rows) => Effect.runPromise(Stream.runDrain(pool.batch(insert, rows))),
    close
  }
}

/** The cache is as large as that of ours. */
const bare = (synchronous: Synchronous) => async (filename: string): Promise<Importer> => {
  const database = new DatabaseSync(filename)
  database.exec(`pragma synchronous = ${synchronous}; pragma cache_size = -8000`)
  return {
    prepare: async () => database.exec(`${empty} pragma wal_checkpoint(truncate)`),
    run: async (rows) => {
      const statement = database.prepare(insert)
      database.exec("begin immediate")
      for (const row of rows) statement.run(...row)
      database.exec("commit")
    },
    close: async () => database.close()
  }
}

const original = (synchronous: Synchronous) => async (filename: string): Promise<Importer> => {
  const { close, value: sql } = await scoped(Effect.provide(SqliteClient.make({ filename }), Reactivity.layer))
  const run = (statement: string) => Effect.runPromise(Effect.asVoid(sql.unsafe(statement)))
  await run(`pragma synchronous = ${synchronous}`)
  return {
    prepare: async () => {
      for (const statement of empty.split(";")) if (statement.trim() !== "") await run(statement)
      await run("pragma wal_checkpoint(truncate)")
    },
    run: (rows) =>
      Stream.fromIterable(rows).pipe(
        Stream.map(([id, name, amount]) => ({ id, name, amount })),
        Stream.grouped(rowsInStatement),
        Stream.runForEach((group) => sql`insert into imported ${sql.insert(group)}`),
        sql.withTransaction,
        Effect.runPromise
      ),
    close
  }
}
