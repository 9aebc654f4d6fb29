/** This library's SQLite, with default options. */
import { Context, Effect, Layer, type Scope } from "effect"
import type { SqlitePool } from "effect-connection-pool/sqlite"
import type { Sqlite } from "../../library.ts"
import { scoped } from "../scoped.ts"
import type { EffectClient, EffectService, TracedClient } from "./client.ts"
import { insert, type Item, select, type Synchronous, update } from "./database.ts"
import { throughSql } from "./throughSql.ts"

type Options = Omit<SqlitePool.Options, "filename">
type Pool = SqlitePool.SqlitePool
type Doors = Pick<EffectClient, "read" | "write">

/** The ways to read and to write that the library has. */
export const ours = (sqlite: Sqlite) => {
  const client = (doors: (pool: Pool) => Doors) => (filename: string) =>
    opened(sqlite.SqlitePool.make({ filename }), doors)
  const serving =
    (doors: (pool: Pool) => Pick<EffectService, "read" | "insert">) =>
    (synchronous: Synchronous, groupCommit?: boolean) =>
    (filename: string): Promise<EffectService> =>
      opened(sqlite.SqlitePool.make(withGroupCommit({ filename, synchronous }, groupCommit)), (pool) => ({
        ...doors(pool),
        synchronous: synchronousOf(pool)
      }))
  const readSync = (pool: Pool): EffectService["read"] => (key) =>
    pool.readSync((reader) => reader.queryUnsafe(select, [key])[0] as unknown as Item)
  return {
    readSync: client((pool) => ({ read: readSync(pool), write: writing(pool) })),
    read: client((pool) => ({
      read: (key) => Effect.map(pool.read((reader) => reader.query(select, [key])), first),
      write: writing(pool)
    })),
    sql: client((pool) => throughSql(pool.sql)),
    /** The same as a layer. */
    layer: (filename: string) =>
      opened(
        Effect.map(
          Layer.build(sqlite.SqlitePool.layer({ filename })),
          (built) => Context.get(built, sqlite.SqlitePool.SqlitePool)
        ),
        (pool) => throughSql(pool.sql)
      ),
    /** `read` of statements that are not always the same. */
    readOf: (statement: () => string, options: Options) => (filename: string) =>
      opened(sqlite.SqlitePool.make({ filename, ...options }), (pool): Doors => ({
        read: (key) => Effect.map(pool.read((reader) => reader.query(statement(), [key])), first),
        write: writing(pool)
      })),
    servingSql: serving((pool) => throughSql(pool.sql)),
    servingSync: serving((pool) => ({
      read: readSync(pool),
      insert: (n) => pool.writeSync((connection) => connection.runUnsafe(insert, [n]))
    })),
    traced: (filename: string): Promise<TracedClient> =>
      opened(sqlite.SqlitePool.make({ filename }), (pool) => ({
        ...throughSql(pool.sql),
        synchronous: synchronousOf(pool)
      }))
  }
}

/** A build from before there was that option ignores it if it is inherited, and would refuse it otherwise. */
const withGroupCommit = (options: SqlitePool.Options, groupCommit: boolean | undefined): SqlitePool.Options =>
  Object.assign(Object.create({ groupCommit } satisfies Partial<SqlitePool.Options>), options)

/** Asked of the connection that writes: through `sql`, one that reads would answer. */
const synchronousOf = (pool: Pool) => async (): Promise<unknown> =>
  (await Effect.runPromise(pool.write((connection) => connection.query("pragma synchronous"))))[0]?.["synchronous"]

const opened = async <A>(
  open: Effect.Effect<Pool, unknown, Scope.Scope>,
  doors: (pool: Pool) => A
): Promise<A & { readonly style: "effect"; readonly close: () => Promise<void> }> => {
  const { close, value: pool } = await scoped(open)
  return { style: "effect", ...doors(pool), close }
}

const writing = (pool: Pool): EffectClient["write"] => (key, pause) =>
  pool.transaction(Effect.andThen(pool.write((connection) => connection.run(update, [key])), pause))

const first = (rows: ReadonlyArray<unknown>): Item => rows[0] as Item
