/** The databases on which programs of writers run. */
import { Context, Effect, Layer, Stream } from "effect"
import { PoolEvent } from "effect-connection-pool"
import { SqlitePool, SqliteWorkerPool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { DatabaseSync } from "node:sqlite"
import { file } from "../files.ts"
import { dump } from "./oracle.ts"
import { type Program, schema } from "./programs.ts"
import type { Target } from "./run.ts"

export interface Watched extends Target {
  /** What is stored, as another process would see it. */
  readonly stored: Effect.Effect<unknown>
  /** Whether what callers set on their connection is there for all that come later. */
  readonly lasts: boolean
  /** Sizes of the groups, and why they were undone. */
  readonly groups: Array<readonly [size: number, undoneBecause: string | undefined]>
}

const options = { name: "writers", drainTimeout: 0, acquireTimeout: "1 hour" } as const

const watch = Effect.fnUntraced(function*(
  target: Omit<Target, "outside">,
  filename: string | undefined,
  program: Program,
  lasts = false
) {
  const { pool } = target
  yield* pool.write((connection) => connection.exec(schema(program.hasDeferredKeys)))
  const groups: Array<readonly [number, string | undefined]> = []
  yield* Effect.forkScoped(
    Stream.runForEach(pool.writer.events, (event) =>
      Effect.sync(() => {
        if (PoolEvent.$is("Grouped")(event)) groups.push([event.size, event.undoneBecause])
      })),
    { startImmediately: true }
  )
  const stored = filename === undefined
    ? pool.readSync((reader) => dump((sql) => reader.valuesUnsafe(sql)))
    : Effect.sync(() => {
      const other = new DatabaseSync(filename)
      try {
        return dump((sql) => other.prepare(sql, { returnArrays: true }).all() as never)
      } finally {
        other.close()
      }
    })
  // A thread may still undo what the last caller has left.
  const isFree = Effect.repeat(
    Effect.andThen(Effect.promise(() => new Promise((resolve) => void setImmediate(resolve))), pool.writer.stats),
    { until: ({ inUse, resetting }) => inUse + resetting === 0 }
  )
  const outside = (sql: string) =>
    filename === undefined
      ? Effect.ignore(pool.write((connection) => connection.exec(sql)))
      : Effect.andThen(
        isFree,
        Effect.sync(() => {
          const other = new DatabaseSync(filename)
          try {
            other.exec(sql)
          } catch {
            // It cannot.
          } finally {
            other.close()
          }
        })
      )
  return { ...target, groups, lasts, outside, stored: Effect.orDie(stored) } satisfies Watched
})

/** A pool on a file, or in memory. */
export const pooled = (own: { readonly groupCommit?: boolean; readonly isMemory?: boolean }) =>
  Effect.fnUntraced(function*(program: Program) {
    const filename = own.isMemory === true ? ":memory:" : yield* file
    const pool = yield* SqlitePool.make({ filename, synchronous: "off", groupCommit: own.groupCommit, ...options })
    return yield* watch({ pool, sql: pool.sql }, own.isMemory === true ? undefined : filename, program)
  })

/** A pool whose writer is in a thread. */
export const threaded = Effect.fnUntraced(function*(program: Program) {
  const filename = yield* file
  const pool = yield* SqliteWorkerPool.make({ filename, synchronous: "off", ...options })
  // What it lacks, the programs for it do not use.
  return yield* watch({ pool: pool as never, sql: pool.sql }, filename, program)
})

/** The drop-in client, and the pool below it. */
export const droppedIn = (own: { readonly groupCommit?: boolean; readonly disableWAL?: boolean }) =>
  Effect.fnUntraced(function*(program: Program) {
    const filename = yield* file
    const context = yield* Layer.build(SqliteClient.layer({ filename, ...own, ...options }))
    const pool = Context.get(context, SqlitePool.SqlitePool)
    return yield* watch({ pool, sql: Context.get(context, SqliteClient.SqliteClient) }, filename, program, true)
  })
