import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import type { PoolError } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import type { SqlError } from "effect/sql/SqlError"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { folder } from "../support/files.ts"

/** Everything that takes the options of a call, with options that the compiler would not let through. */
const calls: Readonly<
  Record<string, (pool: SqlitePool.SqlitePool, options: never) => Effect.Effect<unknown, Failure>>
> = {
  read: (pool, options) => pool.read((reader) => reader.values("select 1"), options),
  readSync: (pool, options) => pool.readSync((reader) => reader.valuesUnsafe("select 1"), options),
  write: (pool, options) => pool.write((connection) => connection.values("select 1"), options),
  writeSync: (pool, options) => pool.writeSync((connection) => connection.valuesUnsafe("select 1"), options),
  transaction: (pool, options) => pool.transaction(Effect.void, options),
  snapshot: (pool, options) => pool.snapshot(Effect.void, options),
  stream: (pool, options) => Stream.runDrain(pool.stream("select 1", [], options))
}

type Failure = PoolError.PoolError<SqlError> | {
  readonly _tag: Exclude<string, "PoolConfigError" | "TransactionOptionsError">
}

const nonsense: ReadonlyArray<readonly [options: unknown, message: string]> = [
  [null, "options is null, but must be an object"],
  [5, "options is 5, but must be an object"],
  ["5 seconds", "options is \"5 seconds\", but must be an object"],
  [["5 seconds"], "options is an array, but must be an object"],
  [() => 1, "options is a function, but must be an object"],
  [{ timeout: Number.NaN }, "timeout is NaN, but must be a duration of zero or more"],
  [{ timeout: -1 }, "timeout is -1, but must be a duration of zero or more"],
  [{ timeout: "soon" }, "timeout is \"soon\", but must be a duration of zero or more"],
  [{ timout: "1 second" }, "timout is no option; did you mean timeout?"],
  [{ label: 5 }, "label is 5, but must be text"]
]

const refused = (effect: Effect.Effect<unknown, Failure>) =>
  effect.pipe(
    Effect.as("nothing was refused"),
    Effect.catch((error) => {
      const isRefusal = error._tag === "PoolConfigError" || error._tag === "TransactionOptionsError"
      // A transaction says that it is one.
      return Effect.succeed(
        "message" in error && isRefusal ? String(error.message).replace(": transaction: ", ": ") : error._tag
      )
    })
  )

for (const filename of ["app.db", ":memory:"]) {
  describe(`invalid options of a call, in ${filename}`, () => {
    for (const [name, call] of Object.entries(calls)) {
      it.effect(`of ${name} are a typed error, in a transaction as well`, () =>
        Effect.gen(function*() {
          const path = filename === ":memory:" ? filename : join(yield* folder, filename)
          const pool = yield* SqlitePool.make({ filename: path, name: "app" })
          for (const [options, message] of nonsense) {
            const error = yield* refused(call(pool, options as never))
            assert.isTrue(error.startsWith(`pool "app`) && error.includes(`": ${message}`), error)
            const inside = yield* pool.transaction(refused(call(pool, options as never)))
            assert.isTrue(inside.startsWith(`pool "app`) && inside.includes(`": ${message}`), inside)
          }
          assert.deepStrictEqual([(yield* pool.stats).writer.inUse, (yield* pool.stats).readers.inUse], [0, 0])
          yield* call(pool, { timeout: "5s", label: "report" } as never)
          yield* pool.transaction(call(pool, { timeout: "5s", label: "report" } as never))
        }))
    }

    it.effect("of a backup and a checkpoint are a typed error, and write nothing", () =>
      Effect.gen(function*() {
        const home = yield* folder
        const pool = yield* SqlitePool.make({ filename: filename === ":memory:" ? filename : join(home, filename) })
        const target = join(home, "copy.db")
        for (const pagesPerStep of [0, -1, 1.5, Number.NaN, Infinity, "10", null]) {
          const message = yield* refused(Stream.runDrain(pool.backup(target, { pagesPerStep } as never)))
          assert.include(message, "but must be a whole number of at least 1")
        }
        assert.include(yield* refused(Stream.runDrain(pool.backup(target, null as never))), "options is null")
        assert.include(
          yield* refused(Stream.runDrain(pool.backup(target, { pagePerStep: 1 } as never))),
          "did you mean pagesPerStep?"
        )
        assert.isFalse(existsSync(target))
        for (const mode of [null, "trunc", "truncate); drop table t; --", {}]) {
          const message = yield* refused(pool.checkpoint(mode as never))
          assert.include(message, "but must be \"passive\", \"full\", \"restart\" or \"truncate\"")
        }
      }))
  })
}
