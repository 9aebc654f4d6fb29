/** What a SQL function throws harms nothing but its statement, and it cannot use the connection that calls it. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { SqliteConnection, SqliteFunction, SqlitePoolError } from "effect-connection-pool/sqlite"
import type { SqlError } from "effect/sql/SqlError"
import { failsAt, failureOf, kinds, make } from "../support/functions.ts"
import { insert, make as makeGroups, together } from "../support/groups.ts"

const boom = new Error("boom")

/** Throws at 3. */
const picky: SqliteFunction.SqliteFunction = (n) => {
  if (n === 3) throw boom
  return n!
}

describe("a SQL function that throws", () => {
  for (const [kind, options] of kinds) {
    it.effect(`fails its statement with its name and what it threw, and nothing else, ${kind}`, () =>
      Effect.gen(function*() {
        const pool = yield* make({ ...options, functions: { picky } })
        const { sql } = pool
        const errors: Array<{ readonly _tag: string }> = [
          yield* Effect.flip(sql`select picky(n) from n`),
          yield* Effect.flip(sql`insert into t(a) select picky(n) from n`),
          yield* Effect.flip(sql`update n set n = picky(n)`.raw),
          yield* Effect.flip(Stream.runDrain(sql`select picky(n) from n`.stream)),
          yield* Effect.flip(Stream.runDrain(pool.stream("select picky(n) from n"))),
          yield* Effect.flip(pool.read((reader) => reader.query("select picky(n) from n"))),
          yield* Effect.flip(pool.write((connection) => connection.exec("insert into t(a) select picky(n) from n"))),
          yield* Effect.flip(pool.writeSync((connection) => connection.runUnsafe("delete from n where picky(n) > 0"))),
          yield* Effect.flip(pool.snapshot(sql`select picky(n) from n`))
        ]
        for (const error of errors) {
          const failure = failureOf(error)
          assert.strictEqual(failure.function, "picky")
          assert.strictEqual(failure.cause, boom)
          assert.strictEqual((error as SqlError).message, "the SQL function picky failed: boom")
          assert.isUndefined(SqliteConnection.codeOf(error))
          assert.isFalse((error as SqlError).isRetryable)
        }
        assert.deepStrictEqual(yield* sql`select (select count(*) from t), (select sum(n) from n)`.values, [[0, 15]])
        const { writer } = yield* pool.stats
        assert.deepStrictEqual([writer.inUse, writer.total], [0, 1])
      }))

    for (const [what, call] of [["function", "picky(n)"], ["aggregate", "bad(n)"]] as const) {
      it.effect(`leaves its transaction open, and nothing of its statement in it: a ${what} ${kind}`, () =>
        Effect.gen(function*() {
          const pool = yield* make({ ...options, functions: { picky }, aggregates: { bad: failsAt(3, boom) } })
          const { sql } = pool
          const select = `select ${call} from n group by n`
          yield* pool.transaction(Effect.gen(function*() {
            yield* sql`insert into u values (1)`
            yield* Effect.flip(sql.unsafe(`insert into t(a) ${select}`))
            yield* Effect.flip(sql.unsafe(`insert into t(a) ${select}`).raw)
            yield* Effect.flip(sql.unsafe(`insert into t(a) ${select} returning a`))
            yield* Effect.flip(Stream.runDrain(sql.unsafe(`insert into t(a) ${select} returning a`).stream))
            yield* pool.write((connection) =>
              Effect.flip(
                connection.exec(`insert into u values (2); insert into t(a) ${select}; insert into u values (9)`)
              )
            )
            yield* Effect.flip(pool.transaction(sql.unsafe(`insert into t(a) ${select}`)))
            yield* Effect.flip(pool.writeSync((connection) => connection.runUnsafe(`insert into t(a) ${select}`)))
            assert.deepStrictEqual(yield* sql`select count(*) from t`.values, [[0]])
            const streamed =
              sql.unsafe<{ a: number }>("insert into t(a) select n from n where n < 3 returning a").stream
            assert.deepStrictEqual((yield* Stream.runCollect(streamed)).map(({ a }) => a), [1, 2])
          }))
          assert.deepStrictEqual(yield* sql`select a from u`.values, [[1], [2]])
          assert.deepStrictEqual(yield* sql`select a from t`.values, [[1], [2]])
        }))
    }
  }

  for (const [kind, options] of kinds) {
    it.effect(`leaves nothing of its statement in a transaction, if a new trigger calls the aggregate, ${kind}`, () =>
      Effect.gen(function*() {
        const pool = yield* make({ ...options, trustedSchema: true, aggregates: { Bad: failsAt(3, boom) } })
        const { sql } = pool
        // SQLite compiles these statements before there is the trigger, and again after that.
        const text = "insert into t(a) select n from n"
        const all: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>> = [
          sql.unsafe(text),
          sql.unsafe(text).raw,
          sql.unsafe(`${text} returning a`),
          Stream.runDrain(sql.unsafe(`${text} returning a`).stream),
          pool.write((connection) => connection.run(text)),
          pool.transaction(sql.unsafe(text)),
          pool.writeSync((connection) => connection.runUnsafe(text)),
          pool.write((connection) => connection.exec(text))
        ]
        for (const one of all) yield* pool.transaction(one)
        yield* sql`delete from t`
        for (const trigger of ["create trigger tr", "create temp trigger tr"]) {
          yield* pool.transaction(Effect.gen(function*() {
            yield* sql.unsafe(`${trigger} after insert on t begin insert into u select bad(new.a); end`)
            for (const one of all) {
              assert.strictEqual(failureOf(yield* Effect.flip(one)).cause, boom)
              assert.deepStrictEqual(yield* sql`select (select count(*) from t), (select count(*) from u)`.values, [[
                0,
                0
              ]])
            }
            yield* sql`insert into t(a) values (4)`
            yield* sql`drop trigger tr`
            yield* all[0]!
            yield* sql`delete from t`
            yield* sql`delete from u`
          }))
        }
      }))
  }

  it.effect("fails its statement with a typed error, also if it throws what cannot be looked at", () =>
    Effect.gen(function*() {
      const revoked = Proxy.revocable({}, {})
      revoked.revoke()
      const silent = Object.defineProperty(new Error(), "message", {
        get: () => {
          throw new Error("no message")
        }
      })
      for (const thrown of [revoked.proxy, silent, Object.create(null) as object, undefined]) {
        const raise = () => {
          throw thrown
        }
        const pool = yield* make({
          functions: { hurl: raise },
          aggregates: { bad: SqliteFunction.aggregate({ start: () => 0, step: (n, _) => n, result: raise }) }
        })
        const calls = ["select hurl()", "select bad(n) from n", "insert into t(a) select hurl() from n"]
        for (const call of calls) {
          const failure = failureOf(yield* Effect.flip(pool.sql.unsafe(call)))
          assert.strictEqual(failure.cause, thrown)
          assert.match(failure.message, /^the SQL function (hurl|bad) failed: ./)
        }
      }
    }))

  it.effect("is undone alone in a group, whatever is thrown", () =>
    Effect.gen(function*() {
      const db = yield* makeGroups({ functions: { picky }, aggregates: { bad: failsAt(3) } })
      yield* db.pool.write((connection) =>
        connection.exec("create table n(n); insert into n values (1), (2), (3), (4); create table u(a)")
      )
      const exits = yield* together<unknown, unknown>(db, [
        insert(db, 1),
        Effect.flip(db.sql`insert into u select picky(n) from n`),
        Effect.flip(db.sql`insert into u select bad(n) from n group by n`),
        Effect.flip(db.pool.writeSync((connection) => {
          connection.runUnsafe("insert into u values (1)")
          connection.runUnsafe("insert into u select bad(n) from n group by n")
        })),
        insert(db, 2)
      ])
      assert.isTrue(exits.every(Exit.isSuccess))
      for (const at of [1, 2, 3]) failureOf((exits[at] as Exit.Success<SqlError>).value)
      assert.deepStrictEqual(yield* db.sql`select count(*) from u`.values, [[0]])
      assert.deepStrictEqual(db.rows, [1, 2])
      assert.deepStrictEqual(yield* db.groups, [{ size: 5, undoneBecause: undefined }])
    }))

  it.effect("is never taken for a lock or a failure of the connection, whatever code it throws", () =>
    Effect.gen(function*() {
      let runs = 0
      const thrown = [
        ...[5, 10, 517, 13, 1].map((errcode) => Object.assign(new Error("other"), { errcode })),
        new SqlitePoolError.SnapshotExpiredError({ pool: "other", heldMillis: 1, maxReadAgeMillis: 1 }),
        Object.assign(new RangeError("other"), { code: "ERR_OUT_OF_RANGE" }),
        "text",
        undefined
      ]
      const pool = yield* make({
        functions: {
          f: () => {
            throw thrown[runs++ % thrown.length]
          }
        }
      })
      for (const one of thrown) {
        const failure = failureOf(yield* Effect.flip(pool.sql`insert into t(a) values (f())`))
        assert.strictEqual(failure.cause, one)
      }
      assert.strictEqual(runs, thrown.length)
      assert.strictEqual((yield* pool.stats).writer.connects, 1)
    }))
})

describe("a SQL function", () => {
  const inside = Effect.fnUntraced(function*(
    use: (connection: SqliteConnection.SqliteConnection) => unknown,
    during: "query" | "exec" | "stream" | "group" | "transaction",
    options: object
  ) {
    let connection: SqliteConnection.SqliteConnection | undefined
    const pool = yield* make({
      ...options,
      functions: {
        f: () => {
          use(connection!)
          return 1
        }
      }
    })
    const text = "insert into t(a) select f() from n limit 2"
    const keep = (given: SqliteConnection.SqliteConnection) => connection = given
    const statement: Effect.Effect<unknown, { readonly _tag: string }> = during === "group"
      ? pool.writeSync((given) => keep(given).runUnsafe(text))
      : during === "transaction"
      ? pool.transaction(pool.write((given) => keep(given).run(text)))
      : pool.write((given) => {
        keep(given)
        return during === "query"
          ? given.query(text)
          : during === "exec"
          ? given.exec(text)
          : Stream.runDrain(given.stream("select f() from n"))
      })
    const error = yield* Effect.flip(statement)
    const { cause } = failureOf(error)
    assert.include((cause as Error).message, "the SQL function f must not use the connection that runs it")
    assert.deepStrictEqual(yield* pool.sql`select count(*) from t`.values, [[0]])
    yield* pool.sql`insert into t(a) values (1)`
  })

  const uses: Record<string, (connection: SqliteConnection.SqliteConnection) => unknown> = {
    query: (connection) => connection.queryUnsafe("select 1"),
    values: (connection) => Effect.runSync(connection.values("select 1")),
    run: (connection) => connection.runUnsafe("insert into t(a) values (9)"),
    exec: (connection) => connection.execUnsafe("insert into t(a) values (9)"),
    commit: (connection) => connection.execUnsafe("commit"),
    rollback: (connection) => connection.execUnsafe("rollback"),
    stream: (connection) => Effect.runSync(Stream.runDrain(connection.stream("select 1")))
  }
  for (const [name, use] of Object.entries(uses)) {
    it.effect(`must not use its own connection: ${name}`, () =>
      Effect.gen(function*() {
        for (const [, options] of kinds) {
          for (const during of ["query", "exec", "stream"] as const) yield* inside(use, during, options)
          if (name === "commit" || name === "rollback") continue
          for (const during of ["group", "transaction"] as const) yield* inside(use, during, options)
        }
      }))
  }

  it.effect("must not read on in a stream of its own connection", () =>
    Effect.gen(function*() {
      let pull: Effect.Effect<unknown, unknown> | undefined
      const pool = yield* make({ functions: { f: () => (Effect.runSync(pull!), 1) } })
      yield* pool.write((connection) =>
        Effect.gen(function*() {
          const next = yield* Stream.toPull(
            connection.stream(
              "with recursive n(i) as (select 1 union all select i + 1 from n where i < 600) select i from n"
            )
          )
          yield* next
          pull = Effect.orDie(next as Effect.Effect<unknown, unknown>)
          assert.include((yield* Effect.flip(connection.query("select f()"))).message, "must not use the connection")
          assert.isFalse(connection.isTransactionUnsafe())
        })
      ).pipe(Effect.scoped)
    }))

  it.effect("cannot wait for the pool, which says so", () =>
    Effect.gen(function*() {
      let ran: Effect.Effect<unknown, unknown> = Effect.void
      const pool = yield* make({ functions: { f: () => (Effect.runSync(ran), 1) } })
      ran = pool.writeSync((connection) => connection.runUnsafe("insert into t(a) values (1)"))
      const error = yield* Effect.flip(pool.sql`insert into t(a) values (f())`)
      assert.include(error.message, "it ran an Effect that has to wait, and a SQL function cannot wait")
      // Another connection is not in its way.
      ran = pool.readSync((reader) => reader.queryUnsafe("select 1"))
      yield* pool.sql`insert into u(a) values (f())`
      assert.deepStrictEqual(yield* pool.sql`select a from u`.values, [[1]])
    }))

  it.effect("may end its own lease, scope or pool: all that waits for the end of the statement", () =>
    Effect.gen(function*() {
      for (const [, options] of kinds) {
        let act: Effect.Effect<unknown, unknown> = Effect.void
        const f: SqliteFunction.SqliteFunction = () => (Effect.runFork(act), 1)
        const pool = yield* make({ ...options, functions: { f } })
        act = pool.shutdown({ drainTimeout: 0 })
        const exit = yield* Effect.exit(pool.write((connection) => connection.query("select f() from n")))
        assert.isTrue(Exit.isFailure(exit) || Exit.isSuccess(exit))
        yield* Effect.yieldNow
        assert.strictEqual((yield* Effect.flip(pool.sql`select 1`)).message.includes("is closed"), true)
      }
      const scope = yield* Scope.make()
      let close: Effect.Effect<unknown> = Effect.void
      const connection = yield* SqliteConnection.open({
        filename: ":memory:",
        functions: { f: () => (Effect.runSync(close), 1) }
      }).pipe(Scope.provide(scope))
      close = Scope.close(scope, Exit.void)
      const error = yield* Effect.flip(connection.query("select f()"))
      assert.include(error.message, "the lease or the connection was ended while it ran")
      assert.include((yield* Effect.flip(connection.query("select 1"))).message, "the connection is closed")
    }))

  it.effect("may end the stream that calls it: its cursor is closed after its step", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      let calls = 0
      const pool = yield* make({
        functions: { f: () => (++calls === 1 ? Effect.runSync(Scope.close(scope, Exit.void)) : undefined, 1) }
      })
      yield* pool.write((connection) =>
        Effect.gen(function*() {
          const next = yield* Stream.toPull(connection.stream("select f() from n")).pipe(Scope.provide(scope))
          const exit = yield* Effect.exit(next)
          assert.isTrue(Exit.isFailure(exit))
          assert.deepStrictEqual(yield* connection.values("select sum(f()) from n"), [[5]])
        })
      )
    }))

  it.effect("may interrupt the fiber that runs its statement", () =>
    Effect.gen(function*() {
      const started = yield* Deferred.make<void>()
      let fiber: Fiber.Fiber<unknown, unknown> | undefined
      const pool = yield* make({ functions: { f: () => (fiber?.interruptUnsafe(), 1) } })
      fiber = yield* Effect.forkChild(Effect.andThen(
        Deferred.await(started),
        pool.transaction(Effect.andThen(pool.sql`insert into t(a) select f() from n`, Effect.yieldNow))
      ))
      yield* Deferred.succeed(started, undefined)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      fiber = undefined
      assert.deepStrictEqual(yield* pool.sql`select count(*) from t`.values, [[0]])
    }))
})
