/** Databases that are backed up. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { DatabaseSync } from "node:sqlite"
import { file } from "./files.ts"
import { withOwnReaders } from "./modes/mode.ts"

export const rows = 600

/** A database of some 600 pages. */
export const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = withOwnReaders(yield* SqlitePool.make({ filename, drainTimeout: 0, synchronous: "off", ...options }))
  yield* pool.write((connection) =>
    connection.exec(`create table t(a);
      insert into t with recursive n(x) as (select 1 union all select x + 1 from n where x < ${rows})
        select randomblob(3000) from n`)
  )
  return { filename, pool }
})

/** Rows of a database, if it is whole. */
export const read = (path: string): number => {
  const database = new DatabaseSync(path)
  try {
    assert.strictEqual(database.prepare("pragma integrity_check").get()!["integrity_check"], "ok")
    return database.prepare("select count(*) as n from t").get()!["n"] as number
  } finally {
    database.close()
  }
}

export const nothingLeft = Effect.fnUntraced(function*(pool: SqlitePool.SqlitePool) {
  assert.deepStrictEqual((yield* pool.stats).readers.inUse, 0)
  yield* pool.write((connection) => connection.run("delete from t where false"))
  assert.isTrue((yield* pool.checkpoint()).isComplete)
})

/** What is told outside of any effect. */
export const unhandled = Effect.acquireRelease(
  Effect.sync(() => {
    const told: Array<unknown> = []
    const tell = (reason: unknown) => {
      told.push(reason)
    }
    process.on("unhandledRejection", tell)
    return { told, tell }
  }),
  ({ tell }) => Effect.sync(() => process.off("unhandledRejection", tell))
)
