/** What the caller of a statement in a thread is told when something rare happens there. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Metric, Stream } from "effect"
import { PoolMetrics } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { vi } from "vitest"
import type { Answer } from "../../src/internal/pool/pipeline.ts"
import { send } from "../../src/sqlite/internal/client/workerReads.ts"
import { Handle } from "../../src/sqlite/internal/connection/handle.ts"
import { StatementTexts } from "../../src/sqlite/internal/sql/statementKind.ts"
import type { Pending } from "../../src/sqlite/internal/worker/pending.ts"
import { Words } from "../../src/sqlite/internal/worker/word.ts"
import { WorkerLeased } from "../../src/sqlite/internal/worker/workerConnection.ts"
import { functionsModule, heldStatement } from "../support/held.ts"
import { collecting, type Outcome, type Pair, pairOf } from "../support/workerPair.ts"
import { make, until } from "../support/workerPools.ts"

const ended = (outcome: Outcome) => outcome.tag === "ended" ? outcome : assert.fail(JSON.stringify(outcome))

/** Both sides of a connection, with a table, and the connection of a lease. */
const opened = (options?: object) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const pair = await pairOf({ filename: ":memory:", ...options })
        ended(await pair.control("exec", "exec", "create table t(a)", 0))
        return pair
      }),
      (pair) => Effect.promise(() => pair[Symbol.asyncDispose]())
    ),
    (pair) => {
      const thread = { host: pair.host, terminate: () => Promise.resolve(), ended: Promise.resolve() }
      return { pair, connection: new WorkerLeased(thread, 0, "test") }
    }
  )

const rows = (pair: Pair) =>
  Effect.promise(async () => ended(await pair.statement({ sql: "select a from t" })).rows.flat())

const hostile = {
  proxy: () =>
    new Proxy({}, {
      get: () => {
        throw new Error("no property")
      },
      getPrototypeOf: () => {
        throw new Error("no class")
      },
      ownKeys: () => {
        throw new Error("no keys")
      }
    }),
  revoked: () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    return proxy
  },
  message: () => Object.defineProperty(new Error("x"), "message", { value: () => 1 }),
  stack: () => Object.defineProperty(new Error("x"), "stack", { value: () => 1 })
}

describe("a SQL function in a thread that throws something that cannot be looked at", () => {
  for (const [name, thrown] of Object.entries(hostile)) {
    it.effect(`fails its statement, and nothing else: ${name}`, () =>
      Effect.gen(function*() {
        const fail = () => {
          throw thrown()
        }
        const { connection, pair } = yield* opened({ functions: { fail } })
        const write = Effect.asVoid(connection.run("insert into t values (fail())"))
        for (const run of [Effect.asVoid(connection.query("select fail()")), write]) {
          const error = yield* Effect.flip(run)
          assert.strictEqual(error._tag, "SqlError")
          assert.match(error.message, /the SQL function fail failed/)
        }
        assert.isFalse(pair.host.state.isTransaction)
        yield* connection.run("insert into t values (1)")
        assert.deepStrictEqual(yield* rows(pair), [1])
      }).pipe(Effect.scoped))
  }
})

describe("a defect in a thread", () => {
  it.effect("is a defect of the caller, and not an error where messages arrive, and the connection is not used any more", () =>
    Effect.gen(function*() {
      const { connection, pair } = yield* opened()
      const bug = new TypeError("a bug")
      const fault = () => {
        throw bug
      }
      for (const method of ["run", "cursor"] as const) vi.spyOn(Handle.prototype, method).mockImplementation(fault)
      yield* Effect.addFinalizer(() => Effect.sync(() => vi.restoreAllMocks()))
      const query = { text: new StatementTexts().read("select 1"), params: [] }
      const sent = Effect.callback<Answer>((resume) => {
        const done = (answer: Answer) => resume(Effect.succeed(answer))
        send(connection, {
          query,
          way: "arrays",
          bigInts: false,
          isAhead: false,
          isWrite: false,
          done,
          ended: () => {},
          failed: ({ thrown }) => Exit.die(thrown)
        })
      })
      const exits = [
        yield* Effect.exit(connection.run("insert into t values (1)")),
        yield* Effect.exit(connection.query("select 1")),
        yield* Effect.exit(Stream.runDrain(connection.stream("select 1"))),
        (yield* sent)!
      ]
      for (const exit of exits) {
        assert.match(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "no failure", /TypeError: a bug/)
        assert.isTrue(Exit.hasDies(exit))
      }
      assert.isFalse(pair.host.state.isUsable)
      vi.restoreAllMocks()
      assert.deepStrictEqual(yield* rows(pair), [])
    }).pipe(Effect.scoped))
})

describe("a stream that writes", () => {
  it.effect("tells a reader whose interrupt came too late that it is stored", () =>
    Effect.gen(function*() {
      const { connection, pair } = yield* opened()
      let isTold = false
      const writing = Effect.tap(
        Stream.runDrain(connection.stream("insert into t values (1) returning a")),
        Effect.sync(() => {
          isTold = true
        })
      )
      const fiber = yield* Effect.forkChild(writing, { startImmediately: true })
      const { commit } = Words.prototype
      const spy = vi.spyOn(Words.prototype, "commit").mockImplementation(function(this: Words, id) {
        const isAllowed = commit.call(this, id)
        fiber.interruptUnsafe()
        return isAllowed
      })
      yield* Fiber.await(fiber)
      spy.mockRestore()
      assert.deepStrictEqual(yield* rows(pair), [1])
      assert.isTrue(isTold)
    }).pipe(Effect.scoped))
})

describe("a script in a thread", () => {
  const immediate = {
    isolation: "immediate",
    isReadOnly: false,
    why: "",
    isOfDatabase: false,
    statement: undefined,
    foreignKeys: undefined
  } as const

  /** A connection whose function `cancel` cancels the script that calls it, and what came of that. */
  const cancelling = Effect.gen(function*() {
    const cancels: Array<boolean> = []
    let pending: Pending | undefined
    const functions = {
      cancel: () => {
        cancels.push(pair.host.cancel(pending!))
        return 1
      }
    }
    const { pair } = yield* opened({ functions })
    const exec = (script: string) =>
      Effect.promise(() => {
        const { outcome, receiver } = collecting(() => {})
        pending = pair.host.control("exec", ["exec", script, 0], receiver, true)
        return outcome
      })
    return { pair, exec, cancels, control: (name: "commit") => Effect.promise(() => pair.control(name)) }
  })

  it.effect("is cancelled between two statements in a transaction, and leaves nothing there", () =>
    Effect.gen(function*() {
      const { cancels, control, exec, pair } = yield* cancelling
      yield* Effect.promise(() => pair.control("begin", immediate))
      assert.strictEqual((yield* exec("insert into t values (1); insert into t values (2)")).tag, "ended")
      for (
        const script of [
          "insert into t values (3); select cancel(); select nothing",
          "insert into t values (4); select cancel()"
        ]
      ) {
        assert.strictEqual((yield* exec(script)).tag, "cancelled")
      }
      const failing = yield* exec("insert into t values (5); select nothing")
      assert.strictEqual(failing.tag, "ended")
      assert.strictEqual((yield* control("commit")).tag, "ended")
      assert.deepStrictEqual(cancels, [true, true])
      // What ran before an error stays, as it does in process.
      assert.deepStrictEqual(yield* rows(pair), [1, 2, 5])
    }).pipe(Effect.scoped))

  it.effect("cannot be cancelled outside of a transaction once it runs, nor where it controls savepoints", () =>
    Effect.gen(function*() {
      const { cancels, control, exec, pair } = yield* cancelling
      assert.strictEqual(
        (yield* exec("insert into t values (1); select cancel(); insert into t values (2)")).tag,
        "ended"
      )
      yield* Effect.promise(() => pair.control("begin", immediate))
      assert.strictEqual(
        (yield* exec("savepoint x; insert into t values (3); select cancel(); release x")).tag,
        "ended"
      )
      assert.strictEqual((yield* control("commit")).tag, "ended")
      assert.deepStrictEqual(cancels, [false, false])
      assert.deepStrictEqual(yield* rows(pair), [1, 2, 3])
    }).pipe(Effect.scoped))
})

describe("a batch on a writer in a thread", () => {
  it.live("that is interrupted frees its caller at once, and stores nothing", () =>
    Effect.gen(function*() {
      const { pool, rows } = yield* make({ functionsModule })
      const held = yield* heldStatement
      const fiber = yield* Effect.forkChild(Stream.runDrain(pool.batch(`insert into t ${held.sql}`, [[]])))
      yield* held.hasBegun
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* pool.stats).writer.abandoned, 1)
      yield* held.letGo
      yield* pool.sql`insert into t values (2)`
      assert.deepStrictEqual(rows(), [1, 2])
    }).pipe(Effect.scoped))
})

describe("a module of functions that sends messages of its own", () => {
  it.live("disturbs nobody", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ functionsModule, workers: 1 })
      const { sql } = pool
      assert.deepStrictEqual(yield* SqlitePool.onWorker(sql`select post() as a`), [{ a: 1 }])
      assert.deepStrictEqual(yield* sql`insert into t values (post()) returning a`, [{ a: 1 }])
      assert.deepStrictEqual(yield* SqlitePool.onWorker(sql`select count(*) as n from t`), [{ n: 2 }])
    }).pipe(Effect.scoped))
})

describe("statements that a writer in a thread has committed together", () => {
  it.live("are in its metrics and events, as those of a writer in process, and so are those that were undone", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ name: "grouped" })
      yield* pool.write((connection) => connection.exec("create unique index u on t(a)"))
      const events: Array<{ readonly size: number; readonly undoneBecause: string | undefined }> = []
      yield* Effect.forkScoped(
        Stream.runForEach(pool.writer.events, (event) =>
          Effect.sync(() => {
            if (event._tag === "Grouped") events.push({ size: event.size, undoneBecause: event.undoneBecause })
          })),
        { startImmediately: true }
      )
      const all = (texts: ReadonlyArray<string>) =>
        Effect.forEach(texts, (text) => Effect.exit(pool.sql.unsafe(text)), { concurrency: "unbounded" })
      yield* all(Array.from({ length: 50 }, (_, at) => `insert into t values (${at + 10})`))
      const { groupSize, undoneGroups } = PoolMetrics.of("grouped/writer")
      const { count, sum } = yield* Metric.value(groupSize)
      assert.isAbove(count, 0)
      assert.isAtMost(sum, 50)
      assert.deepStrictEqual((yield* Metric.value(undoneGroups)).count, 0)
      const exits = yield* all([
        ...Array.from({ length: 10 }, (_, at) => `insert into t values (${at + 100})`),
        "insert or rollback into t values (10)",
        ...Array.from({ length: 10 }, (_, at) => `insert into t values (${at + 200})`)
      ])
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 20)
      assert.isAbove((yield* Metric.value(undoneGroups)).count, 0)
      yield* until(() => events.some(({ undoneBecause }) => undoneBecause !== undefined))
      const undone = events.find(({ undoneBecause }) => undoneBecause !== undefined)
      assert.strictEqual(undone?.undoneBecause, "SQLite has ended the transaction")
      const sizes = events.filter(({ undoneBecause }) => undoneBecause === undefined).map(({ size }) => size)
      assert.strictEqual(
        sizes.reduce((all, size) => all + size, 0),
        (yield* Metric.value(groupSize)).sum
      )
    }).pipe(Effect.scoped, Effect.provideService(Metric.MetricRegistry, new Map())))
})
