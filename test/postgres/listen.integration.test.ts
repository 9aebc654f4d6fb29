/** Listening to channels of PostgreSQL, through lost connections. */
import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Scope, Stream } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert, TemporaryPostgres } from "effect-connection-pool/testing"
import { describeServer, make, until } from "../support/postgres.ts"

const { failsWith } = PoolAssert

/** Collects what a listener hears, in a fiber of its own. */
const hear = Effect.fnUntraced(function*(db: PgPool.PgPool, channel: string) {
  const heard = yield* Queue.unbounded<PgPool.ListenEvent>()
  const fiber = yield* Effect.forkScoped(Stream.runForEach(db.listen(channel), (event) => Queue.offer(heard, event)))
  return { fiber, next: Queue.take(heard) }
})

/** The session that listens, on the server. */
const listening = (server: TemporaryPostgres.TemporaryPostgres, database: string) =>
  Effect.map(server.backends(database), (all) => all.filter(({ query }) => /^(?:un)?listen/i.test(query)))

describeServer("a listener", (it) => {
  it.effect("hears what is sent after it has said that it listens", () =>
    Effect.gen(function*() {
      const { db, judge } = yield* make()
      const { next } = yield* hear(db, "news")
      assert.deepStrictEqual(yield* next, { _tag: "Listening", channel: "news" })
      yield* judge("select pg_notify('news', 'one')")
      yield* db.sql.notify("other", "no")
      yield* db.transaction(db.sql.notify("news", "two"))
      const heard = [yield* next, yield* next]
      assert.deepStrictEqual(heard.map((event) => event._tag === "Notification" ? event.payload : event._tag), [
        "one",
        "two"
      ])
    }))

  it.effect("shares one connection beside the pool with all others, which is closed after the last", () =>
    Effect.gen(function*() {
      const { backends, db } = yield* make({ max: 1 })
      yield* Effect.scoped(Effect.gen(function*() {
        const all = yield* Effect.forEach(["a", "b", "a", "quite \"odd\""], (channel) => hear(db, channel))
        for (const { next } of all) assert.strictEqual((yield* next)._tag, "Listening")
        assert.strictEqual((yield* backends).length, 1)
        yield* db.sql`select 1`
        assert.strictEqual((yield* backends).length, 2)
        yield* db.sql.notify("a", "to both")
        yield* db.sql.notify("quite \"odd\"", "to one")
        const heard = yield* Effect.forEach([all[0]!, all[2]!, all[3]!], ({ next }) => next)
        assert.deepStrictEqual(heard.map((event) => event._tag === "Notification" ? event.payload : ""), [
          "to both",
          "to both",
          "to one"
        ])
      }))
      yield* until("only the connection of the pool is left", Effect.map(backends, (all) => all.length === 1))
    }))

  it.effect("listens again after its connection was lost, says for how long nobody did, and misses nothing after that", () =>
    Effect.gen(function*() {
      const { db, kill } = yield* make()
      const [one, other] = [yield* hear(db, "news"), yield* hear(db, "news")]
      yield* one.next
      yield* other.next
      for (let round = 0; round < 3; round++) {
        const before = Date.now()
        assert.isAtLeast(yield* kill, 1)
        for (const { next } of [one, other]) {
          const event = yield* next
          assert.strictEqual(event._tag, "Listening")
          // Of this outage alone.
          const { awayMillis } = event as PgPool.Listening
          assert.isAtLeast(awayMillis!, 0)
          assert.isAtMost(awayMillis!, Date.now() - before)
        }
        yield* Effect.sleep(20)
        yield* db.sql`select 1`
        yield* db.sql.notify("news", String(round))
        for (const { next } of [one, other]) {
          assert.deepInclude(yield* next, { _tag: "Notification", payload: String(round) })
        }
      }
    }))

  it.effect("is refused a channel that PostgreSQL does not have, and harms no other", () =>
    Effect.gen(function*() {
      const { db } = yield* make()
      const { next } = yield* hear(db, "news")
      yield* next
      for (const channel of ["", "a\0b", "\ud800"]) {
        const error = yield* failsWith(Stream.runDrain(db.listen(channel)), "SqlError")
        assert.include(error.message, "but must be text of 1 to 63 bytes, without a zero character")
        assert.isFalse(error.isRetryable)
      }
      const long = yield* failsWith(Stream.runDrain(db.listen("x".repeat(64))), "SqlError")
      assert.include(long.message, "must not exceed 63 UTF-8 bytes")
      yield* db.sql.notify("news", "still there")
      assert.deepInclude(yield* next, { _tag: "Notification", payload: "still there" })
    }))

  it.effect("waits for a server that restarts", () =>
    Effect.gen(function*() {
      const server = yield* TemporaryPostgres.make()
      const db = yield* PgPool.make({ ...(yield* server.database), acquireTimeout: "1 second", drainTimeout: 0 })
      const { next } = yield* hear(db, "news")
      yield* next
      yield* server.stop("immediate")
      // Longer than a caller waits.
      yield* failsWith(db.write(() => Effect.void), "AcquireTimeoutError")
      yield* server.start
      const event = yield* next
      assert.isAbove((event as PgPool.Listening).awayMillis!, 0)
    }))

  it.effect("notices a network that has gone silent", () =>
    Effect.gen(function*() {
      const { database, server } = yield* make()
      const proxy = yield* server.proxy
      const db = yield* PgPool.make({
        ...database,
        host: proxy.host,
        port: proxy.port,
        keepalive: "50 millis",
        validateTimeout: "1 second",
        cancelTimeout: "50 millis",
        connectTimeout: "1 second",
        drainTimeout: 0
      })
      const { next } = yield* hear(db, "news")
      yield* next
      yield* proxy.silence
      // Between two attempts to connect there is none.
      yield* until("it has given its connection up", Effect.map(proxy.connections, (count) => count === 0))
      yield* proxy.restore
      assert.strictEqual((yield* next)._tag, "Listening")
      const notify = server.query("select pg_notify('news', 'again')", { database: database.database })
      const notifying = yield* Effect.forkChild(Effect.forever(Effect.andThen(notify, Effect.sleep(20))))
      // On a machine that stands still it may lose its connection once more.
      yield* until("it hears", Effect.map(next, (event) => event._tag === "Notification" && event.payload === "again"))
      yield* Fiber.interrupt(notifying)
    }))

  it.effect("fails at once where it cannot listen at all", () =>
    Effect.gen(function*() {
      const { database } = yield* make()
      const db = yield* PgPool.make({ ...database, database: "nowhere" })
      yield* failsWith(Stream.runDrain(db.listen("news")), "ConnectError")
      const long = yield* failsWith(Stream.runDrain((yield* make()).db.listen("x".repeat(64))), "SqlError")
      assert.include(long.message, "63")
    }))

  it.effect("that is interrupted stops listening on the server", () =>
    Effect.gen(function*() {
      const { database, db, server } = yield* make()
      const [kept, left] = [yield* hear(db, "kept"), yield* hear(db, "left")]
      yield* kept.next
      yield* left.next
      yield* Fiber.interrupt(left.fiber)
      const [session] = yield* listening(server, database.database)
      assert.strictEqual(session?.query, "UNLISTEN \"left\"")
      yield* db.sql.notify("kept", "still")
      assert.deepInclude(yield* kept.next, { payload: "still" })
    }))

  it.effect("that is interrupted while it begins leaves the others their connection, and that of `sql` is not closed later", () =>
    Effect.gen(function*() {
      const { database, db, judge, server } = yield* make({
        max: 1,
        cancelTimeout: "1 millis",
        controlTimeout: "1 minute"
      })
      const kept = yield* hear(db, "kept")
      yield* kept.next
      const [shared] = yield* listening(server, database.database)
      const own = yield* db.write((connection) => connection.processId)
      // Long enough for what is under way to reach the server, and for a cancel to pass its deadline.
      const meanwhile = Effect.repeat(judge("select 1"), { times: 20 })
      const slow = yield* Scope.make()
      yield* Scope.provide(Effect.andThen(server.freeze(shared!.processId), server.freeze(own)), slow)
      const { fiber } = yield* hear(db, "left")
      const ofSql = yield* Effect.forkScoped(Effect.scoped(Effect.andThen(db.sql.listen("left"), Effect.never)))
      yield* meanwhile
      const interrupting = yield* Effect.forkChild(Fiber.interruptAll([fiber, ofSql]), { startImmediately: true })
      yield* meanwhile
      yield* Scope.close(slow, Exit.void)
      yield* Fiber.join(interrupting)
      yield* judge("select pg_notify('kept', 'still')")
      assert.deepInclude(yield* kept.next, { payload: "still" })
      assert.strictEqual(yield* db.write((connection) => connection.processId), own)
    }))

  it.effect("does not wait for a frozen server for longer than `controlTimeout`", () =>
    Effect.gen(function*() {
      const { database, db, server } = yield* make({ controlTimeout: "2 seconds" })
      const kept = yield* hear(db, "kept")
      yield* kept.next
      const [shared] = yield* listening(server, database.database)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* server.freeze(shared!.processId)
        const error = yield* failsWith(Stream.runDrain(db.listen("left")), "SqlError")
        assert.strictEqual(error.reason._tag, "ConnectionError")
        // The others listen again on another connection.
        assert.deepInclude(yield* kept.next, { _tag: "Listening" })
      }))
    }))

  it.effect("ends with a shutdown", () =>
    Effect.gen(function*() {
      const { db } = yield* make()
      const { fiber, next } = yield* hear(db, "news")
      yield* next
      yield* db.shutdown()
      const error = yield* failsWith(
        Effect.flatMap(Fiber.await(fiber), (exit) => exit as Exit.Exit<void, { readonly _tag: "PoolClosedError" }>),
        "PoolClosedError"
      )
      assert.isDefined(error)
    }))
})
