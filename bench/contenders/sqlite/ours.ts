/** This library's SQLite, with default options. */
import { Effect } from "effect"
import type { SqlitePool } from "effect-connection-pool/sqlite"
import type { Sqlite } from "../../library.ts"
import { scoped } from "../scoped.ts"
import type { EffectClient } from "./client.ts"
import { type Item, select, update } from "./database.ts"
import { throughSql } from "./throughSql.ts"

type Options = Omit<SqlitePool.Options, "filename">
type Doors = Pick<EffectClient, "read" | "write">

/** The ways to read that the library has. */
export const ours = (sqlite: Sqlite) => {
  const client = (doors: (pool: SqlitePool.SqlitePool) => Doors) => async (filename: string) =>
    opened(sqlite, { filename }, doors)
  return {
    readSync: client((pool) => ({
      read: (key) => pool.readSync((reader) => reader.queryUnsafe(select, [key])[0] as unknown as Item),
      write: writing(pool)
    })),
    read: client((pool) => ({
      read: (key) => Effect.map(pool.read((reader) => reader.query(select, [key])), first),
      write: writing(pool)
    })),
    sql: client((pool) => throughSql(pool.sql)),
    /** `read` of statements that are not always the same. */
    readOf: (statement: () => string, options: Options) => (filename: string) =>
      opened(sqlite, { filename, ...options }, (pool) => ({
        read: (key) => Effect.map(pool.read((reader) => reader.query(statement(), [key])), first),
        write: writing(pool)
      }))
  }
}

const opened = async (
  sqlite: Sqlite,
  options: SqlitePool.Options,
  doors: (pool: SqlitePool.SqlitePool) => Doors
): Promise<EffectClient> => {
  const { close, value: pool } = await scoped(sqlite.SqlitePool.make(options))
  return { style: "effect", ...doors(pool), close }
}

const writing = (pool: SqlitePool.SqlitePool): EffectClient["write"] => (key, pause) =>
  pool.transaction(Effect.andThen(pool.write((connection) => connection.run(update, [key])), pause))

const first = (rows: ReadonlyArray<unknown>): Item => rows[0] as Item
