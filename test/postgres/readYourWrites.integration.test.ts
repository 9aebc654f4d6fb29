/** Reads on a replica that see what was written before them. */
import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Scope, Stream } from "effect"
import type { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import * as Reactivity from "effect/reactivity/Reactivity"
import { until } from "../support/postgres.ts"
import { describeReplicated, poolOver, Servers } from "../support/replicas.ts"

const { failsWith } = PoolAssert

const make = Effect.fnUntraced(function*(table: string, options?: Partial<PgPool.Options>) {
  const { primary, replica } = yield* Servers
  yield* primary.query(`create table ${table} (n int)`)
  yield* replica.caughtUp
  const db = yield* poolOver({ primary, replica }, options)
  return { db, primary, replica }
})

describeReplicated("a read after a write, with a replica that is late", (it) => {
  it.effect("may miss it with `replicaSql`, and never inside `readYourWrites`", () =>
    Effect.gen(function*() {
      const { db, primary, replica } = yield* make("own")
      const { replicaSql, sql } = db
      const seen = Effect.map(replicaSql<{ n: number }>`select count(*)::int4 as n from own`, ([row]) => row!.n)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        yield* sql`insert into own values (1)`
        assert.strictEqual(yield* seen, 0)
        assert.deepStrictEqual(yield* sql`select count(*)::int4 as n from own`, [{ n: 1 }])
        const inside = yield* db.readYourWrites(Effect.gen(function*() {
          const before = yield* seen
          yield* sql`insert into own values (2)`
          const after = yield* seen
          yield* db.transaction(sql`insert into own values (3)`)
          const afterTransaction = yield* seen
          yield* db.write((connection) => connection.run("insert into own values (4)"))
          const afterWrite = yield* db.read((connection) =>
            connection.query("select count(*)::int4 as n, inet_server_port() as port from own")
          )
          return [before, after, afterTransaction, afterWrite]
        }))
        assert.deepStrictEqual(inside, [0, 2, 3, [{ n: 4, port: primary.port }]])
        // Outside of it, nothing has changed.
        assert.strictEqual(yield* seen, 0)
      }))
    }))

  it.effect("sees what was written in any way", () =>
    Effect.gen(function*() {
      const { db, primary, replica } = yield* make("ways")
      yield* primary.query(
        "create function write_ways() returns int language sql as 'insert into ways values (1) returning n'"
      )
      yield* replica.caughtUp
      const { replicaSql, sql } = db
      const seen = Effect.map(replicaSql<{ n: number }>`select count(*)::int4 as n from ways`, ([row]) => row!.n)
      const insert = "insert into ways values (1) returning n"
      const ways: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        sql.unsafe(insert),
        sql.unsafe(insert).unprepared,
        Stream.runDrain(sql.unsafe(insert).stream),
        Stream.runDrain(db.stream(insert)),
        sql.withTransaction(sql.unsafe(insert)),
        db.transaction(sql.withTransaction(sql.unsafe(insert))),
        db.write((connection) => connection.run(insert)),
        // It fails, and what it has written is stored.
        Effect.ignore(db.write((connection) => Effect.andThen(connection.run(insert), Effect.fail("no")))),
        Effect.scoped(Effect.flatMap(sql.reserve, (connection) => connection.execute(insert, [], undefined))),
        replicaSql.unsafe(insert),
        Stream.runDrain(replicaSql.unsafe(insert).stream),
        // Their text reads.
        sql`select write_ways()`,
        Stream.runDrain(sql`select write_ways()`.stream),
        replicaSql`select write_ways()`
      ]
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        for (const [index, way] of ways.entries()) {
          assert.strictEqual(yield* db.readYourWrites(Effect.andThen(way, seen)), index + 1, `way ${index}`)
        }
      }))
    }))

  it.effect("sees what is written on a connection that is still lent", () =>
    Effect.gen(function*() {
      const { db, replica } = yield* make("lent", { max: 2 })
      const { replicaSql, sql } = db
      const seen = Effect.map(replicaSql<{ n: number }>`select count(*)::int4 as n from lent`, ([row]) => row!.n)
      const insert = "insert into lent values (1)"
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        const twice = (write: Effect.Effect<unknown, unknown>) =>
          Effect.andThen(
            write,
            Effect.flatMap(seen, (one) => Effect.map(Effect.andThen(write, seen), (two) => [one, two]))
          )
        const ofWrite = yield* db.readYourWrites(db.write((connection) => twice(connection.run(insert))))
        assert.deepStrictEqual(ofWrite, [1, 2])
        const ofReserve = yield* db.readYourWrites(Effect.scoped(
          Effect.flatMap(sql.reserve, (connection) => twice(connection.execute(insert, [], undefined)))
        ))
        assert.deepStrictEqual(ofReserve, [3, 4])
      }))
    }))

  it.effect("sees what a function has written that was to read on a replica, and ran on the primary because that was late", () =>
    Effect.gen(function*() {
      const { db, primary, replica } = yield* make("unseen")
      yield* primary.query("create table unseen_gate (n int)")
      yield* primary.query(`create function write_unseen(n int) returns int language plpgsql as 'begin
        while not exists (select from unseen_gate gate where gate.n = write_unseen.n) loop perform pg_sleep(0.005); end loop;
        insert into unseen values (n); return n; end'`)
      yield* replica.caughtUp
      const { replicaSql, sql } = db
      const isWriting = Effect.map(
        primary.query("select 1 from pg_stat_activity where state = 'active' and query like 'select write_unseen%'"),
        (rows) => rows.length === 1
      )
      const late = yield* Scope.make()
      yield* Scope.provide(replica.pauseReplay, late)
      const seen = yield* db.readYourWrites(Effect.gen(function*() {
        yield* sql`insert into unseen values (0)`
        const writing = yield* Effect.forkChild(replicaSql`select write_unseen(1)`)
        yield* until("it runs on the primary", isWriting)
        // The replica gets the first write, and not the second.
        yield* Scope.close(late, Exit.void)
        yield* replica.caughtUp
        yield* replica.pauseReplay
        yield* primary.query("insert into unseen_gate values (1)")
        yield* Fiber.join(writing)
        return yield* replicaSql`select n from unseen where n > 0`
      })).pipe(Effect.scoped)
      assert.deepStrictEqual(seen, [{ n: 1 }])
      // Once, although it was refused before.
      assert.deepStrictEqual(yield* primary.query("select n from unseen"), [{ n: 0 }, { n: 1 }])
    }))

  it.effect("is refused what it writes in a stream, also on the primary because its replica is late", () =>
    Effect.gen(function*() {
      const { db, primary, replica } = yield* make("streamed")
      yield* primary.query(
        "create function write_streamed() returns int language sql as 'insert into streamed values (2) returning n'"
      )
      yield* replica.caughtUp
      const { replicaSql, sql } = db
      const refused = failsWith(Stream.runDrain(replicaSql`select write_streamed()`.stream), "SqlError")
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        const error = yield* db.readYourWrites(Effect.andThen(sql`insert into streamed values (1)`, refused))
        assert.strictEqual(error.reason._tag, "AuthorizationError")
        assert.deepStrictEqual(yield* primary.query("select n from streamed"), [{ n: 1 }])
      }))
      assert.strictEqual((yield* refused).reason._tag, "AuthorizationError")
    }))

  it.effect("that was late does not ask the primary for its position again", () =>
    Effect.gen(function*() {
      const { db, replica } = yield* make("behind")
      const { replicaSql, sql } = db
      const checkouts = Effect.map(db.stats, ({ primary }) => primary.checkouts)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        yield* db.readYourWrites(Effect.gen(function*() {
          yield* sql`insert into behind values (1)`
          yield* replicaSql`select n from behind`
          const before = yield* checkouts
          assert.deepStrictEqual(yield* replicaSql`select n from behind`, [{ n: 1 }])
          assert.strictEqual((yield* checkouts) - before, 1)
        }))
      }))
    }))

  it.effect("is seen by a reactive query that it makes run again, whatever it reads with", () =>
    Effect.gen(function*() {
      const { db, replica } = yield* make("reacting")
      const { replicaSql, sql } = db
      const { mutation } = yield* Reactivity.Reactivity
      const count = replicaSql<{ n: number }>`select count(*)::int4 as n from reacting`
      const seen = Effect.map(count, ([row]) => row!.n)
      yield* replica.pauseReplay
      let n = 0
      for (const client of [sql, replicaSql]) {
        const answers = yield* client.reactiveMailbox(["reacting"], seen)
        assert.strictEqual(yield* Queue.take(answers), n)
        yield* mutation(["reacting"], sql`insert into reacting values (1)`)
        assert.strictEqual(yield* Queue.take(answers), ++n)
      }
      // By itself it may be late.
      assert.strictEqual(yield* seen, 0)
    }).pipe(Effect.scoped, Effect.provide(Reactivity.layer)))

  it.effect("is no write itself, so the primary is not asked for its position again", () =>
    Effect.gen(function*() {
      const { db } = yield* make("unchanged")
      const { sql } = db
      const checkouts = Effect.map(db.stats, ({ primary }) => primary.checkouts)
      yield* db.readYourWrites(Effect.gen(function*() {
        yield* sql`insert into unchanged values (1)`
        yield* db.snapshot(sql`select n from unchanged`)
        const before = yield* checkouts
        yield* db.snapshot(sql`select n from unchanged`)
        yield* db.transaction(sql`select n from unchanged`, { readOnly: true })
        yield* db.snapshot(sql`select n from unchanged`)
        assert.strictEqual(yield* checkouts, before)
      }))
    }))

  it.effect("holds no connection of a late replica while it reads on the primary", () =>
    Effect.gen(function*() {
      const { db, replica } = yield* make("unheld", { max: 1, replicas: { max: 1 } })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        const inUse = yield* db.readYourWrites(Effect.andThen(
          db.sql`insert into unheld values (1)`,
          Stream.runCollect(Stream.mapEffect(
            db.replicaSql`select n from unheld`.stream,
            () => Effect.map(db.stats, ({ primary, replicas }) => [primary.inUse, replicas!.inUse])
          ))
        ))
        assert.deepStrictEqual(inUse, [[1, 0]])
      }))
    }))

  it.effect("waits for the replica where that is soon there, and reads on it", () =>
    Effect.gen(function*() {
      const { db, replica } = yield* make("soon")
      const { replicaSql, sql } = db
      for (let n = 1; n <= 20; n++) {
        const [row] = yield* db.readYourWrites(
          Effect.andThen(
            sql`insert into soon values (${n})`,
            replicaSql`select count(*)::int4 as n, inet_server_port() as port from soon`
          )
        )
        assert.strictEqual(row!["n"], n)
      }
      const { replicas } = yield* db.stats
      assert.isAtLeast(replicas!.checkouts, 20)
      assert.isDefined(replica)
    }))

  it.effect("sees it in a snapshot, which waits on its replica", () =>
    Effect.gen(function*() {
      const { db, replica } = yield* make("snapped")
      const { sql } = db
      const read = sql`select count(*)::int4 as n, inet_server_port() as port from snapped`
      const ways = [
        db.snapshot(read),
        db.transaction(read, { readOnly: true })
      ]
      for (const [index, way] of ways.entries()) {
        const paused = yield* Scope.make()
        yield* Scope.provide(replica.pauseReplay, paused)
        const reading = yield* Effect.forkChild(
          db.readYourWrites(Effect.andThen(sql`insert into snapped values (1)`, way))
        )
        yield* until("it waits", Effect.map(db.stats, ({ replicas }) => replicas!.inUse === 1))
        yield* Scope.close(paused, Exit.void)
        assert.deepStrictEqual(yield* Fiber.join(reading), [{ n: index + 1, port: replica.port }])
      }
    }))

  it.effect("fails in a snapshot whose replica does not get it within `controlTimeout`, and the connection is kept", () =>
    Effect.gen(function*() {
      const { db, replica } = yield* make("late", { controlTimeout: "2 seconds" })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        const late = yield* failsWith(
          db.readYourWrites(Effect.andThen(db.sql`insert into late values (1)`, db.snapshot(db.sql`select 1`))),
          "TransactionBeginError"
        )
        assert.match(late.message, /no replica has reached \S+ within 2000 ms, .*run it without readOnly, or later/)
        assert.deepStrictEqual(yield* db.snapshot(db.sql`select 1 as one`), [{ one: 1 }])
        assert.strictEqual((yield* db.stats).replicas!.disconnects, 0)
      }))
    }))

  it.effect("sees it by its position in another pool, as another process would", () =>
    Effect.gen(function*() {
      const { db, primary, replica } = yield* make("other")
      const other = yield* poolOver({ primary, replica })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        yield* db.sql`insert into other values (1)`
        const position = yield* db.position
        assert.match(position, /^[0-9A-F]+\/[0-9A-F]+$/)
        assert.deepStrictEqual(yield* other.read((connection) => connection.query("select n from other")), [])
        assert.deepStrictEqual(
          yield* other.read((connection) => connection.query("select n from other"), { after: position }),
          [{ n: 1 }]
        )
        assert.deepStrictEqual(
          yield* other.readYourWrites(other.replicaSql`select n from other`, { after: position }),
          [{ n: 1 }]
        )
      }))
    }))

  it.effect("fails in time with `fallback: \"none\"`, and with what is no position", () =>
    Effect.gen(function*() {
      const { db, replica } = yield* make("none", { replicas: { fallback: "none", maxLag: "2 seconds" } })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        yield* db.sql`insert into none values (1)`
        const after = yield* db.position
        const late = yield* failsWith(db.read((connection) => connection.query("select 1"), { after }), "SqlError")
        assert.strictEqual(late.reason._tag, "StatementTimeoutError")
        assert.include(late.message, "no replica has reached")
      }))
      const wrong = yield* failsWith(db.read(() => Effect.void, { after: "; drop table" }), "SqlError")
      assert.include(wrong.message, "must be a position")
      const alsoWrong = yield* failsWith(db.readYourWrites(Effect.void, { after: "1" }), "SqlError")
      assert.include(alsoWrong.message, "must be a position")
    }))
})
