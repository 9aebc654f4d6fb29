/** Databases for batches, and what batches leave behind. */
import { assert } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { statSync } from "node:fs"
import { file } from "./files.ts"

export const insert = "insert into person(id, name) values (?, ?)"

export const people = (count: number, from = 0): Array<[number, string]> =>
  Array.from({ length: count }, (_, at) => [from + at, `name ${from + at}`])

/** So many rows take more than one step: the clock of a test stands still, so a step ends after 10 000 rows. */
export const several = 10_001

/** A database with an empty table. */
export const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, ...options })
  yield* pool.write((connection) =>
    connection.exec("create table person(id integer primary key, name text not null, age)")
  )
  return { filename, pool, bytes: () => statSync(filename).size }
})

export const last = <A, E, R>(stream: Stream.Stream<A, E, R>) =>
  Effect.flatMap(Stream.runLast(stream), (progress) => Effect.fromOption(progress))

export const countOf = (pool: SqlitePool.SqlitePool) =>
  Effect.map(
    pool.read((reader) => reader.values("select count(*) from person")),
    ([row]) => row![0] as number
  )

/** The settings that a long batch changes. */
export const settingsOf = (pool: SqlitePool.SqlitePool) =>
  pool.write((connection) =>
    Effect.all([connection.values("pragma cache_size"), connection.values("pragma wal_autocheckpoint")] as const)
  )

export const usual: Effect.Success<ReturnType<typeof settingsOf>> = [[[-8000]], [[1000]]]

/** The database works as if there had been no batch, and has so many rows. */
export const isWhole = Effect.fnUntraced(function*(pool: SqlitePool.SqlitePool, count: number) {
  assert.strictEqual(yield* countOf(pool), count)
  assert.deepStrictEqual(yield* settingsOf(pool), usual)
  assert.isFalse(yield* pool.write((connection) => connection.isTransaction))
  assert.deepStrictEqual(yield* pool.read((reader) => reader.values("pragma integrity_check")), [["ok"]])
  const { isComplete } = yield* pool.checkpoint()
  assert.isTrue(isComplete)
  const { writer } = yield* pool.stats
  assert.deepStrictEqual([writer.inUse, writer.waiting], [0, 0])
})
