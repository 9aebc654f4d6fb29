/**
 * Databases in a mode. `vitest.modes.config.ts` puts this in the place of `src/sqlite/internal/database.ts` for a `SqlitePool` and for
 * the client of `sqlite-node`, so that their tests run with threads without knowing it.
 */
import { Effect } from "effect"
import type { Decorate } from "../../../src/sqlite/internal/client/client.ts"
import type { SqlitePool } from "../../../src/sqlite/internal/contract/pool.ts"
import * as Real from "../../../src/sqlite/internal/database.ts"
import type { PoolSettings } from "../../../src/sqlite/internal/options/pool.ts"
import { excepted, insteadOf, mode } from "./mode.ts"

type Settings = PoolSettings & { readonly isInMode: boolean }

/** The settings of a database in the mode. One that has workers already stays as it is, and so does one that can have none. */
export const settingsIn = (settings: PoolSettings): Settings => {
  const { connection, execution, functionsModule, isOneConnection, workers } = settings
  // The client of `sqlite-node` refuses workers where it only reads.
  const isRefused = isOneConnection || connection.isMemory ||
    (connection.lasting !== undefined && connection.isReadOnly)
  if (workers > 0 || execution !== "in-process" || isRefused) return { ...settings, isInMode: false }
  if (connection.functions !== undefined && functionsModule === undefined) excepted("functions that are in no module")
  // The client of `sqlite-node` keeps on its writer what statements change about it, so that is in process.
  const isWriter = mode === "writer" && !connection.isReadOnly && connection.lasting === undefined
  return {
    ...settings,
    workers: settings.readers,
    execution: "worker",
    writerExecution: isWriter ? "worker" : "in-process",
    isInMode: true
  }
}

export const makeWith: typeof Real.makeWith = (given: PoolSettings, decorate?: Decorate) =>
  Effect.suspend(() => {
    const settings = settingsIn(given)
    const made = Real.makeWith(settings, decorate)
    if (!settings.isInMode) return made
    const isWriter = settings.writerExecution === "worker"
    return Effect.map(made, ({ pool, pools }) => {
      const ofWriter = isWriter ? withWriter(pool) : undefined
      return { pools, pool: insteadOf({ ...pool, ...ofWriter }, { ...withReaders(pool), ...ofWriter }) }
    })
  })

/** The readers of the mode are those in threads. */
const withReaders = (pool: SqlitePool): SqlitePool => {
  const readers = pool.workers as unknown as SqlitePool["readers"]
  return {
    ...pool,
    readers,
    sides: { writer: pool.writer, readers },
    stats: Effect.map(pool.stats, ({ workers, ...stats }) => ({ ...stats, readers: workers! })),
    shutdown: ((options) =>
      Effect.map(pool.shutdown(options), ({ workers, ...report }) => ({
        ...report,
        readers: workers!
      }))) as SqlitePool["shutdown"]
  }
}

/** What a writer in a thread does not have is an exception. */
const withWriter = (pool: SqlitePool): Pick<SqlitePool, "write" | "writeSync"> => ({
  writeSync: () => Effect.sync(() => excepted("writeSync")),
  write: (f, options) => pool.write((connection) => f(withoutSync(connection)), options)
})

const withoutSync = <C extends object>(connection: C): C =>
  new Proxy(connection, {
    get: (target, name) => {
      if (typeof name === "string" && name.endsWith("Unsafe")) return excepted(`${name}, which is synchronous`)
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === "function" ? (value as (...given: Array<unknown>) => unknown).bind(target) : value
    }
  })
