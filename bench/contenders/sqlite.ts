/** Ways to a SQLite database: each opens the same file for itself. */
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Effect, Stream } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import * as Statement from "effect/sql/Statement"
import { DatabaseSync } from "node:sqlite"
import type { Sqlite } from "../library.ts"
import { repeat } from "../workloads/alone.ts"
import { scoped } from "./scoped.ts"

/** Rows of the table; the one with `id` has `id * 2` in `n`. */
export const rows = 10_000

/** Makes the file. */
export const fill = (filename: string): void => {
  const database = new DatabaseSync(filename)
  database.exec(`
    pragma journal_mode = wal;
    create table item(id integer primary key, name text not null, n integer not null);
    with id(id) as (select 1 union all select id + 1 from id limit ${rows})
    insert into item select id, 'item ' || id, id * 2 from id;
    pragma wal_checkpoint(truncate);
  `)
  database.close()
}

const select = "select id, name, n from item where id = ?"

/** What is read of a row. */
interface Item {
  readonly n: number
}

/** Reads rows by their keys, one after the other; what it read, summed up. */
export interface PointReader {
  readonly read: (times: number) => Promise<number>
  readonly close: () => Promise<void>
}

const keyOf = (turn: number): number => (turn * 7919) % rows + 1

export const sumOf = (times: number): number => {
  let sum = 0
  for (let turn = 0; turn < times; turn++) sum += keyOf(turn) * 2
  return sum
}

/** The statement, prepared once: what SQLite and Node cost. */
export const plain = (filename: string): PointReader => {
  const database = new DatabaseSync(filename)
  const statement = database.prepare(select)
  return {
    read: (times) => {
      let sum = 0
      for (let turn = 0; turn < times; turn++) sum += statement.get(keyOf(turn))!["n"] as number
      return Promise.resolve(sum)
    },
    close: () => {
      database.close()
      return Promise.resolve()
    }
  }
}

/** Reads with effects that are made anew for each row. */
const reading = (
  one: (key: number) => Effect.Effect<ReadonlyArray<unknown>, unknown>,
  close: () => Promise<void>
): PointReader => ({
  read: (times) => {
    let sum = 0
    let turn = 0
    const next = () =>
      Effect.map(one(keyOf(turn++)), ([row]) => {
        sum += (row as Item).n
      })
    return Effect.runPromise(Effect.as(Effect.suspend(() => repeat(next, times)), undefined)).then(() => sum)
  },
  close
})

type Door = "readSync" | "read" | "sql"

export const ours = async (sqlite: Sqlite, filename: string, door: Door): Promise<PointReader> => {
  const { close, value: pool } = await scoped(sqlite.SqlitePool.make({ filename }))
  switch (door) {
    case "readSync":
      return reading((key) => pool.readSync((reader) => reader.queryUnsafe(select, [key])), close)
    case "read":
      return reading((key) => pool.read((reader) => reader.query(select, [key])), close)
    case "sql":
      return reading(throughSql(pool.sql), close)
  }
}

export const original = async (filename: string): Promise<PointReader> => {
  const { close, sql } = await originalClient(filename)
  return reading(throughSql(sql), close)
}

/** A statement of `effect/sql` on a connection that does no more than it has to: nobody can be cheaper. */
export const floor = async (filename: string): Promise<PointReader> => {
  const database = new DatabaseSync(filename)
  const statement = database.prepare(select)
  const fail = () => Effect.die("only point reads")
  const connection: Connection = {
    execute: (_, [key]) => Effect.sync(() => statement.all(key as number)),
    executeRaw: fail,
    executeStream: () => Stream.die("only point reads"),
    executeUnprepared: fail,
    executeValues: fail,
    executeValuesUnprepared: fail
  }
  const sql = await Effect.runPromise(Effect.provide(
    SqlClient.make({
      driver: "floor",
      acquirer: Effect.succeed(connection),
      borrower: (f) => f(connection),
      compiler: Statement.makeCompilerSqlite(),
      spanAttributes: [["db.system.name", "sqlite"]]
    }),
    Reactivity.layer
  ))
  return reading(throughSql(sql), () => {
    database.close()
    return Promise.resolve()
  })
}

const throughSql = (sql: SqlClient.SqlClient) => (key: number) =>
  sql<Item>`select id, name, n from item where id = ${key}`

/** A client of Effect's, and how to close it. */
export interface Client {
  readonly sql: SqlClient.SqlClient
  readonly close: () => Promise<void>
}

export const originalClient = async (filename: string): Promise<Client> => {
  const { close, value } = await scoped(Effect.provide(SqliteClient.make({ filename }), Reactivity.layer))
  return { sql: value, close }
}

export const ourClient = async (sqlite: Sqlite, filename: string): Promise<Client> => {
  const { close, value } = await scoped(sqlite.SqlitePool.make({ filename }))
  return { sql: value.sql, close }
}
