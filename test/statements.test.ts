/** What a pool tells of the statements that its driver reports, shown with a driver that has no database. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Logger, Metric, References, Stream } from "effect"
import { ConnectionFactory, ConnectionPool, type PoolConfig, PoolMetrics } from "effect-connection-pool"
import { TestClock } from "effect/testing"
import { settle } from "./support/pools.ts"
import { onWorkClock, slowOf } from "./support/slowStatements.ts"

/** Its connections do nothing, but say that they run statements. */
const make = Effect.fnUntraced(function*(options?: PoolConfig.PoolConfig & { readonly ping?: string }) {
  const { ping, ...config } = options ?? {}
  return yield* ConnectionPool.make({
    factory: ConnectionFactory.make<ConnectionFactory.Statements>({
      connect: ConnectionFactory.Statements,
      ...(ping === undefined ? undefined : {
        validate: (statements: ConnectionFactory.Statements) =>
          Effect.andThen(
            statements.run(ping, Effect.void),
            Effect.sync(() => statements.runSync(ping, () => true))
          )
      })
    }),
    max: 1,
    drainTimeout: 0,
    ...config
  })
})

type Pool = Effect.Success<ReturnType<typeof make>>

const statementsOf = (pool: Pool) => Effect.map(pool.holders, (holders) => holders.map(({ statement }) => statement))

/** A lease that runs one statement without end. */
const running = (pool: Pool, text: string, label?: string) =>
  Effect.tap(
    Effect.forkChild(
      pool.use((connection) => connection.run(text, Effect.never), label === undefined ? {} : { label })
    ),
    () => settle
  )

describe("a holder", () => {
  it.effect("is shown with the statement that it runs, and since when", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      yield* running(pool, "select 1")
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* statementsOf(pool), [{ text: "select 1", isRunning: true, ranMillis: 3000 }])
    }))

  it.effect("is shown with the statement that runs longest, if there are several", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      yield* Effect.forkChild(pool.use((connection) =>
        Effect.all([
          connection.run("first", Effect.never),
          Effect.delay(connection.run("second", Effect.never), 500),
          connection.run("third", Effect.void)
        ], { concurrency: "unbounded" })
      ))
      yield* TestClock.adjust(700)
      assert.deepStrictEqual(yield* statementsOf(pool), [{ text: "first", isRunning: true, ranMillis: 700 }])
    }))

  for (
    const [when, slowStatement, took] of [["", "1 hour", { ranMillis: 250 }], ["out", undefined, undefined]] as const
  ) {
    it.effect(`is shown with the statement that it ran last, with${when} its time if statements are measured`, () =>
      onWorkClock((clock) =>
        Effect.gen(function*() {
          const pool = yield* make(slowStatement === undefined ? {} : { slowStatement })
          yield* pool.use((connection) =>
            Effect.gen(function*() {
              assert.deepStrictEqual(yield* statementsOf(pool), [undefined])
              connection.runSync("select 1", () => clock.work(250))
              assert.deepStrictEqual(yield* statementsOf(pool), [{ text: "select 1", isRunning: false, ...took }])
              yield* connection.run("select 2", Effect.sync(() => clock.work(250)))
              assert.deepStrictEqual(yield* statementsOf(pool), [{ text: "select 2", isRunning: false, ...took }])
            })
          )
        })
      ))
  }

  it.effect("is not shown with a statement of the lease before, nor with one of the driver between two leases", () =>
    Effect.gen(function*() {
      const pool = yield* make({ validateAfterIdle: 0, ping: "select 'ping'" })
      yield* pool.use((connection) => connection.run("select 1", Effect.void))
      yield* TestClock.adjust("1 minute")
      yield* pool.use(() => Effect.map(statementsOf(pool), (found) => assert.deepStrictEqual(found, [undefined])))
      assert.isAbove((yield* pool.stats).validations, 0)
    }))

  it.effect("is not shown with a statement that has outlived the lease before", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const late = yield* pool.use((connection) =>
        Effect.forkDetach(connection.run("late", Effect.sleep(100)), { startImmediately: true })
      )
      yield* pool.use(() =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* statementsOf(pool), [undefined])
          yield* TestClock.adjust(100)
          yield* Fiber.join(late)
          assert.deepStrictEqual(yield* statementsOf(pool), [undefined])
        })
      )
    }))

  it.effect("runs a statement no more that was interrupted, failed or died", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      yield* pool.use((connection) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(connection.run("slow", Effect.never), { startImmediately: true })
          yield* Fiber.interrupt(fiber)
          assert.deepStrictEqual(yield* statementsOf(pool), [{ text: "slow", isRunning: false }])
          yield* Effect.exit(connection.run("failed", Effect.fail("no")))
          yield* Effect.exit(connection.run("died", Effect.die("no")))
          assert.throws(() => connection.runSync("threw", () => assert.fail("no")))
          assert.deepStrictEqual(yield* statementsOf(pool), [{ text: "threw", isRunning: false }])
        })
      )
    }))

  it.effect("is shown with a text of one line, cut at 1000 characters, and with short lists", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const shown = (text: string) =>
        pool.use((connection) =>
          Effect.andThen(connection.run(text, Effect.void), Effect.map(statementsOf(pool), ([first]) => first?.text))
        )
      assert.strictEqual(
        yield* shown("  select *\n  from t\twhere a in (?, ?,?)\n"),
        "select * from t where a in (?, ...)"
      )
      assert.strictEqual(yield* shown("insert into t values (?,?), (?,?), (?,?)"), "insert into t values (?, ...), ...")
      assert.strictEqual(yield* shown("insert into t values ($1),($2),($3)"), "insert into t values ($1), ...")
      assert.strictEqual(yield* shown("select a from t where b = ? and c = ?"), "select a from t where b = ? and c = ?")
      assert.strictEqual(yield* shown(`select '${"x".repeat(2000)}'`), `select '${"x".repeat(992)}...`)
      assert.strictEqual(yield* shown("😀".repeat(600)), `${"😀".repeat(500)}...`)
      assert.strictEqual(yield* shown(`x${"😀".repeat(600)}`), `x${"😀".repeat(499)}...`)
    }))
})

describe("who holds a connection", () => {
  it.effect("is in the timeout error, with the statement", () =>
    Effect.gen(function*() {
      const pool = yield* make({ name: "app", acquireTimeout: "2 seconds" })
      const holder = yield* running(pool, "select * from report", "report")
      const late = yield* Effect.forkChild(
        Effect.catchTag(pool.use(() => Effect.void), "AcquireTimeoutError", (error) => Effect.succeed(error))
      )
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(late)
      assert.strictEqual(
        error?.message,
        `pool "app": no connection within 2000 ms, waiting for one to be returned (1 of 1 in use, 1 waiting); held ` +
          `longest by report #${holder.id} for 2000 ms (runs "select * from report", for 2000 ms)`
      )
      assert.deepStrictEqual(error?.holders[0]?.statement, {
        text: "select * from report",
        isRunning: true,
        ranMillis: 2000
      })
    }))

  it.effect("is in leak reports and in the warning of a shutdown, with the statement", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message).replaceAll(/#\d+/g, "#?")))
      yield* Effect.scoped(Effect.gen(function*() {
        const pool = yield* make({ leakThreshold: "30 seconds" })
        const release = yield* Deferred.make<void>()
        yield* Effect.forkChild(
          pool.use((connection) => Effect.andThen(connection.run("select 1", Effect.void), Deferred.await(release)), {
            label: "report"
          })
        )
        yield* TestClock.adjust("30 seconds")
        yield* Deferred.succeed(release, undefined)
        yield* settle
        yield* running(pool, "select 2", "export")
        yield* pool.shutdown()
      })).pipe(Effect.provide(Logger.layer([logger])), Effect.provideService(References.MinimumLogLevel, "Warn"))
      assert.deepStrictEqual(lines, [
        `possible leak: report (fiber #?) held connection 1 for 30000 ms (last ran "select 1") and still does`,
        `no leak after all: report (fiber #?) held connection 1 for 30000 ms (last ran "select 1") and has returned it`,
        `shutting down: fibers that still hold a connection are interrupted: export (fiber #?) held connection 1 for ` +
        `0 ms (runs "select 2", for 0 ms)`
      ])
    }))
})

describe("a driver", () => {
  it.effect("finds out whether statements are measured, and outside a pool they just run", () =>
    Effect.gen(function*() {
      const isMeasured = (slowStatement: PoolConfig.PoolConfig["slowStatement"]) =>
        Effect.flatMap(make({ slowStatement }), (pool) => pool.useSync((connection) => connection.isMeasured))
      assert.deepStrictEqual(yield* Effect.forEach([undefined, "Infinity", 0, "1 second"] as const, isMeasured), [
        false,
        false,
        true,
        true
      ])
      const outside = yield* ConnectionFactory.Statements
      assert.isFalse(outside.isMeasured)
      assert.strictEqual(outside.runSync("select 1", () => 1), 1)
      assert.strictEqual(yield* outside.run("select 1", Effect.succeed(2)), 2)
      assert.deepStrictEqual(yield* Stream.runCollect(outside.stream("select 1", Stream.make(3))), [3])
    }))

  it.effect("has no look at the clock for a statement in one step, if they are not measured", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make()
        const reads = (statements: number) =>
          Effect.gen(function*() {
            const before = clock.reads
            yield* pool.use((connection) =>
              Effect.sync(() => {
                for (let n = 0; n < statements; n++) connection.runSync("select 1", () => n)
              })
            )
            return clock.reads - before
          })
        yield* reads(1)
        assert.strictEqual(yield* reads(1000), yield* reads(0))
      })
    ))
})

describe("the metrics", () => {
  it.effect("count slow statements, and have the times of all; without slowStatement they are not there", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make({ name: "measured", slowStatement: 100 })
        const plain = yield* make({ name: "plain" })
        for (const each of [pool, plain]) {
          yield* each.use((connection) =>
            Effect.sync(() => {
              for (const millis of [4, 99, 100, 250]) connection.runSync("select 1", () => clock.work(millis))
            })
          )
        }
        const metrics = PoolMetrics.of("measured")
        const { count, max, sum } = yield* Metric.value(metrics.statementTime)
        assert.deepStrictEqual([count, max, Math.round(sum * 1000)], [4, 0.25, 453])
        assert.strictEqual((yield* Metric.value(metrics.slowStatements)).count, 2)
        const names = (yield* Metric.snapshot).filter(({ id }) => id.includes("statement"))
        assert.deepStrictEqual(names.map(({ attributes }) => attributes?.["db.client.connection.pool.name"]), [
          "measured",
          "measured"
        ])
        assert.strictEqual((yield* pool.stats).slowStatements, 2)
        assert.strictEqual((yield* plain.stats).slowStatements, 0)
        assert.deepStrictEqual(yield* plain.slowStatements, [])
        assert.strictEqual((yield* slowOf(plain).pipe(Effect.flatten)).length, 0)
      })
    ).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))
})
