import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { readdirSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import * as ConnectionPool from "../../src/ConnectionPool.ts"
import { open, workerFactoryOf } from "../../src/sqlite/internal/worker/factory.ts"
import type { WorkerLeased } from "../../src/sqlite/internal/worker/workerConnection.ts"
import { file } from "../support/files.ts"
import { heldStatement, withHeld } from "../support/held.ts"
import { settingsOf } from "../support/workerPair.ts"

interface Options {
  readonly max: number
  readonly min?: number
  readonly maxAbandoned?: number
  readonly drainTimeout?: number
  readonly closeTimeout?: number
}

const poolOf = (options: Options) =>
  Effect.gen(function*() {
    const filename = yield* file
    const settings = { ...settingsOf({ filename }), functionsFrom: withHeld }
    const opened: Array<WorkerLeased> = []
    const factory = workerFactoryOf(settings, true, (died) =>
      Effect.tap(open(settings, opened.length === 0, { died }), (connection) =>
        Effect.sync(() =>
          opened.push(connection)
        )))
    const pool = yield* ConnectionPool.make({ ...options, factory, name: "threads" })
    const other = yield* Effect.acquireRelease(
      Effect.sync(() =>
        new DatabaseSync(filename, { timeout: 0 })
      ),
      (other) =>
        Effect.sync(() => other.close())
    )
    return { pool, opened, isWriting: Effect.sync(() => isLocked(other)) }
  })

const counting = (to: number) =>
  `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${to}) select count(*) from n`

/** Whether another connection writes now. */
const isLocked = (other: DatabaseSync): boolean => {
  try {
    other.exec("begin immediate")
  } catch {
    return true
  }
  other.exec("rollback")
  return false
}

/** Waits until something is true, which another thread decides. */
const until = (what: Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.flatMap(what, (isTrue) => isTrue ? Effect.void : Effect.andThen(Effect.sleep(5), until(what)))

describe("a pool of connections in threads", () => {
  it.live("rolls back what a lease has left open, and undoes its changes", () =>
    Effect.gen(function*() {
      const { pool } = yield* poolOf({ max: 1 })
      yield* pool.use((connection) => connection.exec("create table t(a); begin; insert into t values (1)"))
      yield* pool.use((connection) => connection.exec("pragma recursive_triggers = on"))
      assert.deepStrictEqual(yield* pool.use((connection) => connection.values("select * from t")), [])
      assert.deepStrictEqual(yield* pool.use((connection) => connection.values("pragma recursive_triggers")), [[0]])
    }).pipe(Effect.scoped))

  it.live("fails what is used after its lease, without a request", () =>
    Effect.gen(function*() {
      const { pool } = yield* poolOf({ max: 1 })
      const kept = yield* pool.use((connection) => Effect.succeed(connection))
      const error = yield* Effect.flip(kept.query("select 1"))
      assert.strictEqual(error._tag, "LeaseExpiredError")
      assert.strictEqual(kept.thread.host.size, 0)
    }).pipe(Effect.scoped))

  it.live("frees an interrupted caller at once, and lends the connection again when its step has ended", () =>
    Effect.gen(function*() {
      const { isWriting, opened, pool } = yield* poolOf({ max: 1, maxAbandoned: 0 })
      yield* pool.use((connection) => connection.exec("create table t(a)"))
      const held = yield* heldStatement
      const fiber = yield* Effect.forkChild(pool.use((connection) => connection.run(`insert into t ${held.sql}`)))
      yield* held.hasBegun
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* pool.stats).abandoned, 1)
      assert.isTrue(yield* isWriting)
      yield* held.letGo
      // It was cancelled in time, so nothing of it is stored.
      assert.deepStrictEqual(yield* pool.use((connection) => connection.values("select * from t")), [])
      assert.strictEqual((yield* pool.stats).abandoned, 0)
      assert.strictEqual(opened.length, 1)
    }).pipe(Effect.scoped))

  it.live("replaces a connection whose thread has died, idle or in use, and tells its caller", () =>
    Effect.gen(function*() {
      const { opened, pool } = yield* poolOf({ max: 1, min: 1 })
      yield* pool.use((connection) => connection.exec("create table t(a)"))
      opened[0]!.thread.terminate()
      yield* until(Effect.sync(() => opened.length === 2))
      const fiber = yield* Effect.forkChild(
        Effect.flip(pool.use((connection) => connection.query(counting(1_000_000))))
      )
      yield* until(Effect.sync(() => opened[1]!.thread.host.size === 1))
      opened[1]!.thread.terminate()
      const error = yield* Fiber.join(fiber)
      assert.include(error.message, "has ended")
      assert.deepStrictEqual(yield* pool.use((connection) => connection.values("select count(*) from t")), [[0]])
      assert.strictEqual((yield* pool.stats).total, 1)
    }).pipe(Effect.scoped))

  it.live("shuts down within its deadline while a statement runs that nobody can stop", () =>
    Effect.gen(function*() {
      const { isWriting, opened, pool } = yield* poolOf({ max: 1, drainTimeout: 50, closeTimeout: 50 })
      yield* pool.use((connection) => connection.exec("create table t(a)"))
      const held = yield* heldStatement
      const fiber = yield* Effect.forkChild(pool.use((connection) => connection.run(`insert into t ${held.sql}`)))
      yield* held.hasBegun
      yield* Fiber.interrupt(fiber)
      const report = yield* pool.shutdown()
      assert.strictEqual(report.abandoned.length, 1)
      // The statement still runs, so nobody has waited for it.
      assert.isTrue(yield* isWriting)
      assert.isAbove(opened[0]!.thread.host.size, 0)
    }).pipe(Effect.scoped))

  it.live(
    "leaks neither threads nor requests, however many statements fail or are interrupted",
    () =>
      Effect.gen(function*() {
        const { opened, pool } = yield* poolOf({ max: 2 })
        yield* pool.use((connection) => connection.exec("create table t(a unique); insert into t values (1)"))
        const before = threads()
        const runs = Number(process.env["WORKER_LEAKS"] ?? 500)
        const one = (at: number): Effect.Effect<unknown, unknown> => {
          switch (at % 4) {
            case 0:
              return pool.use((connection) => connection.run("insert into t values (1)"))
            case 1:
              return pool.use((connection) => connection.query("select * from nowhere"))
            case 2:
              return pool.use((connection) => connection.query("select ?", [undefined as never]))
            default:
              return Effect.timeout(pool.use((connection) => connection.query(counting(1000 + at))), at % 3)
          }
        }
        yield* Effect.forEach(Array.from({ length: runs }, (_, at) => at), (at) => Effect.exit(one(at)), {
          concurrency: 8
        })
        yield* until(Effect.map(pool.stats, ({ abandoned, idle, total }) => abandoned === 0 && idle === total))
        const { inUse, total } = yield* pool.stats
        assert.deepStrictEqual([inUse, total <= 2], [0, true])
        for (const { thread: { host } } of opened) assert.strictEqual(host.size, 0)
        assert.deepStrictEqual(yield* pool.use((connection) => connection.values("select * from t")), [[1]])
        // Of two connections, the second may have been opened meanwhile: a thread of its own and none besides.
        assert.isAtMost(threads() - before, opened.length)
      }).pipe(Effect.scoped),
    { timeout: 120_000 }
  )

  it.live("leaves no thread behind when it is closed", () =>
    Effect.gen(function*() {
      const before = threads()
      const exit = yield* Effect.exit(Effect.scoped(Effect.gen(function*() {
        const { pool } = yield* poolOf({ max: 4 })
        yield* Effect.forEach([1, 2, 3, 4], () => pool.use((connection) => connection.query(counting(50_000))), {
          concurrency: 4
        })
      })))
      assert.isTrue(Exit.isSuccess(exit))
      yield* until(Effect.sync(() => threads() <= before))
    }))
})

/** The threads of this process that are connections. */
const threads = (): number => readdirSync("/proc/self/task").length
