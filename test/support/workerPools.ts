/** SQLite pools whose writer is in a thread. */
import { Effect, Fiber, Random } from "effect"
import { SqliteWorkerPool } from "effect-connection-pool/sqlite"
import { Worker } from "node:worker_threads"
import type { WorkerLeased } from "../../src/sqlite/internal/worker/workerConnection.ts"
import { file, judge } from "./files.ts"

/** A pool over a new file with a table that has one row, and a plain handle on the same file. */
export const make = Effect.fnUntraced(function*(options?: Partial<SqliteWorkerPool.Options>) {
  const filename = yield* file
  const pool = yield* SqliteWorkerPool.make({ filename, drainTimeout: 0, ...options })
  yield* pool.write((connection) => connection.exec("create table t(a); insert into t values (1)"))
  const other = yield* judge(filename)
  return {
    filename,
    pool,
    other,
    /** What everybody sees in the table. */
    rows: (): ReadonlyArray<unknown> => other.prepare("select a from t order by rowid").all().map((row) => row["a"])
  }
})

/** The thread of a connection. */
export const threadOf = (connection: object) => (connection as WorkerLeased).thread

export const counting = (to: number) =>
  `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${to}) select count(*) from n`

/** A write that takes a while in one step of SQLite. */
export const slowWrite = (to: number) => `insert into t ${counting(to)}`

const turn = Effect.promise(() => new Promise(setImmediate))

/** The number of turns of the event loop that an effect takes. */
export const turnsOf = Effect.fnUntraced(function*<E>(effect: Effect.Effect<unknown, E>) {
  const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
  let turns = 0
  for (; fiber.pollUnsafe() === undefined; turns++) yield* turn
  return turns
})

/**
 * Runs an effect in a fiber, and interrupts that after a random number of turns of the event loop. How many it takes is known only
 * roughly, so every tenth is interrupted at once, and every tenth is not interrupted.
 */
export const interruptAtRandom = Effect.fnUntraced(
  function*<E>(n: number, usualTurns: number, effect: Effect.Effect<unknown, E>) {
    const turns = yield* Random.nextIntBetween(0, 4 * usualTurns)
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    if (n % 10 === 0) return yield* Fiber.join(fiber)
    for (let at = 0; n % 10 > 1 && at < turns; at++) yield* turn
    return yield* Fiber.interrupt(fiber)
  }
)

/** Waits until something is true, which another thread decides. */
export const until = (isTrue: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => isTrue() ? Effect.void : Effect.andThen(turn, until(isTrue)))

/** Counts the messages to all threads until the end of the scope. */
export const countMessages = Effect.gen(function*() {
  const real = Worker.prototype.postMessage
  let messages = 0
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      Worker.prototype.postMessage = function(this: Worker, ...args: Parameters<Worker["postMessage"]>) {
        messages++
        return real.apply(this, args)
      } as Worker["postMessage"]
    }),
    () =>
      Effect.sync(() => {
        Worker.prototype.postMessage = real
      })
  )
  return () => messages
})
