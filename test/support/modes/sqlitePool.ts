/** `SqlitePool` in a mode: a pool that was made without options for workers has workers. */
import { Effect, Layer, Result, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { ConnectError, PoolConfigError } from "../../../src/PoolError.ts"
import { makeWith } from "../../../src/sqlite/internal/database.ts"
import * as PoolSettings from "../../../src/sqlite/internal/options/pool.ts"
import * as Real from "../../../src/sqlite/SqlitePool.ts"
import { excepted, mode, withoutSync } from "./mode.ts"

export * from "../../../src/sqlite/SqlitePool.ts"

type Made = Effect.Effect<Real.SqlitePool, PoolConfigError | ConnectError<SqlError>, Scope.Scope>

/** Options with which no thread is possible. */
const alone: ReadonlyArray<string> = ["functions", "aggregates", "onOpen", "workers", "execution"]

const mayHaveWorkers = (options: unknown): options is Real.Options =>
  typeof options === "object" && options !== null && !alone.some((field) => field in options) &&
  (options as { readonly filename?: unknown }).filename !== ":memory:"

export const make = (options: Real.Options): Made =>
  Effect.suspend(() => {
    if (!mayHaveWorkers(options)) return Real.make(options)
    const settings = PoolSettings.resolve({ ...options, workers: 2, execution: "worker" })
    if (Result.isFailure(settings)) return Real.make(options)
    return made(settings.success)
  })

const made = (settings: PoolSettings.PoolSettings): Made => {
  const isWriter = mode === "writer" && !settings.connection.isReadOnly
  return Effect.map(
    makeWith({ ...settings, writerExecution: isWriter ? "worker" : "in-process" }),
    ({ pool }) => ({
      ...pool,
      read:
        ((f: (reader: object) => never, options?: never) =>
          pool.read((reader) => f(withoutSync(reader)), options)) as typeof pool.read,
      ...(isWriter
        ? {
          writeSync: () => Effect.sync(() => excepted("writeSync")),
          write:
            ((f: (connection: object) => never, options?: never) =>
              pool.write((connection) => f(withoutSync(connection)), options)) as typeof pool.write
        }
        : undefined)
    })
  )
}

export const layer: typeof Real.layer = (options) => Layer.effectContext(Effect.map(make(options), Real.services))

export const makeTemporary: typeof Real.makeTemporary = (options) =>
  Effect.gen(function*() {
    if (!mayHaveWorkers({ ...options })) return yield* Real.makeTemporary(options)
    const resolved = PoolSettings.resolveTemporary({ ...options, workers: 2, execution: "worker" })
    if (Result.isFailure(resolved)) return yield* Real.makeTemporary(options)
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-connection-pool-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    )
    return yield* made(resolved.success(join(folder, "temporary.db")))
  })

export const layerTemporary: typeof Real.layerTemporary = (options) =>
  Layer.effectContext(Effect.map(makeTemporary(options), Real.services))
