/** Reads whose shared connection is killed, frozen, blocked or shut down under them. A second connection is the judge. */
import { PgTypes } from "@effect/sql-pg"
import { assert } from "@effect/vitest"
import { Duration, Effect, Fiber, Random, Result } from "effect"
import { PgPoolError } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { describeServer, runs, until } from "../support/postgres.ts"
import { make } from "../support/sharedReads.ts"

const { failsWith } = PoolAssert

/** The number of the type `uuid`. */
const uuid = 2950

const numbersTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

describeServer("reads that share a connection", (it) => {
  it.effect("run again when it is killed under them, and give what they should", () =>
    Effect.gen(function*() {
      const { backends, inFlight, item, judge, napThere, numbers, pid, shared, warm } = yield* make({
        shared: { statementTimeout: "20 seconds" }
      })
      yield* warm
      const lane = yield* shared(pid)
      for (const round of numbersTo(3)) {
        // What the server worked for when it died is under suspicion, until it has shown again that it is quick.
        yield* shared(napThere(1, 0))
        const { lost } = yield* numbers
        const slow = yield* Effect.forkChild(napThere(round, 10_000))
        yield* inFlight(1)
        const all = yield* Effect.forkChild(Effect.forEach(numbersTo(7), item, { concurrency: "unbounded" }))
        yield* inFlight(8)
        yield* runs({ backends }, "select nap_there")
        // Not the connection on which it has run alone: what was lost runs again there.
        yield* judge(
          "select pg_terminate_backend(pid) from pg_stat_activity where state = 'active' and query like 'select nap_there%'"
        )
        assert.deepStrictEqual(yield* Fiber.join(all), numbersTo(7).map((id) => `name ${id}`))
        assert.strictEqual(yield* Fiber.join(slow), round)
        assert.strictEqual((yield* numbers).lost, lost + 8)
      }
      assert.notStrictEqual(yield* shared(pid), lane)
    }))

  it.effect("leave a server process that does not answer, and run elsewhere", () =>
    Effect.gen(function*() {
      const { inFlight, item, numbers, pid, server, shared, warm } = yield* make()
      let lane = 0
      const areAllSent = Effect.scoped(Effect.gen(function*() {
        yield* warm
        lane = yield* shared(pid)
        const before = yield* numbers
        yield* server.freeze(lane)
        const [took, names] = yield* Effect.timed(Effect.forEach(numbersTo(20), item, { concurrency: "unbounded" }))
        assert.deepStrictEqual(names, numbersTo(20).map((id) => `name ${id}`))
        const { lost, sent } = yield* numbers
        // On a slow machine it may have had no room for all of them, or was given back before it was frozen.
        if (sent - before.sent < 20) return false
        assert.isAtLeast(Duration.toMillis(took), 190)
        assert.strictEqual(lost - before.lost, 20)
        // Those that come meanwhile do not wait for it.
        assert.strictEqual(yield* item(5), "name 5")
        return true
      }))
      yield* until("all are sent to the frozen one", areAllSent)
      yield* inFlight(0)
      assert.notStrictEqual(yield* shared(pid), lane)
    }))

  it.effect("wait for a lock on connections of their own, and hold up no neighbour for that long", () =>
    Effect.gen(function*() {
      const { item, judge, numbers, onTheirWay, shared, sql, warm } = yield* make({
        max: 8,
        shared: { statementTimeout: "1 second" }
      })
      const count = Effect.map(sql<{ n: number }>`select count(*)::int4 as n from stored`, ([row]) => row!.n)
      yield* warm
      yield* shared(count)
      yield* judge("create table released ()")
      const locked = yield* Effect.forkChild(judge(
        "do 'begin lock table stored in access exclusive mode; " +
          "while not exists (select from released) loop perform pg_sleep(0.01); end loop; end'"
      ))
      yield* until(
        "it is locked",
        Effect.map(
          judge("select 1 from pg_locks where relation = 'stored'::regclass and granted"),
          (rows) => rows.length > 0
        )
      )
      const counts = yield* onTheirWay(
        6,
        warm,
        Effect.forEach(numbersTo(6), () => count, { concurrency: "unbounded" })
      )
      assert.deepStrictEqual(
        yield* Effect.forEach(numbersTo(20), item, { concurrency: "unbounded" }),
        numbersTo(20).map((id) => `name ${id}`)
      )
      assert.isUndefined(counts.pollUnsafe())
      yield* judge("insert into released default values")
      assert.deepStrictEqual(yield* Fiber.join(counts), numbersTo(6).map(() => 0))
      yield* Fiber.join(locked)
      const { late, lost } = yield* numbers
      assert.isAtLeast(late + lost, 6)
    }))

  it.effect("do not share the end of one whose row is too large for the driver", () =>
    Effect.gen(function*() {
      const { gated, inFlight, item, numbers, open, shared, sql, warm } = yield* make({
        maxMessageSize: 64 * 1024,
        shared: { statementTimeout: "20 seconds" }
      })
      const large = (length: number) => sql<{ text: string }>`select repeat('x', ${length}) as text`
      yield* warm
      yield* shared(large(1))
      yield* shared(gated(0))
      // It holds the others back, so that all are on their way together.
      const first = yield* Effect.forkChild(gated(1))
      yield* inFlight(1)
      const tooLarge = yield* Effect.forkChild(failsWith(large(100_000), "SqlError"))
      const all = yield* Effect.forkChild(Effect.forEach(numbersTo(10), item, { concurrency: "unbounded" }))
      yield* inFlight(12)
      yield* open(1)
      assert.strictEqual(yield* Fiber.join(first), 1)
      assert.deepStrictEqual(yield* Fiber.join(all), numbersTo(10).map((id) => `name ${id}`))
      assert.strictEqual((yield* Fiber.join(tooLarge)).reason._tag, "UnknownError")
      const { lost } = yield* numbers
      assert.strictEqual(lost, 11)
      // It does not get a second chance to end the connection of others.
      yield* shared(item(1))
      yield* failsWith(large(100_000), "SqlError")
      assert.strictEqual((yield* numbers).lost, lost)
    }))

  it.effect("do not share the error of one whose row its type cannot read, although the driver ends the connection", () =>
    Effect.gen(function*() {
      const types = PgTypes.makeRegistry()
      types.register(uuid, {
        encode: () => Result.fail(new PgTypes.CodecError({ message: "unused" })),
        decode: (bytes) =>
          bytes[0] === 0 ? Result.fail(new PgTypes.CodecError({ message: "no id" })) : Result.succeed("id")
      })
      const { gated, inFlight, item, numbers, open, shared, sql, warm } = yield* make({
        types,
        shared: { statementTimeout: "20 seconds" }
      })
      const read = (digit: string) =>
        sql<{ id: string }>`select replace(${"11111111-1111-1111-1111-111111111111"}, '1', ${digit})::uuid as id`
      yield* warm
      assert.deepStrictEqual(yield* shared(read("1")), [{ id: "id" }])
      yield* shared(gated(0))
      const first = yield* Effect.forkChild(gated(1))
      yield* inFlight(1)
      const unreadable = yield* Effect.forkChild(failsWith(read("0"), "SqlError"))
      const all = yield* Effect.forkChild(Effect.forEach(numbersTo(10), item, { concurrency: "unbounded" }))
      yield* inFlight(12)
      yield* open(1)
      assert.strictEqual(yield* Fiber.join(first), 1)
      assert.deepStrictEqual(yield* Fiber.join(all), numbersTo(10).map((id) => `name ${id}`))
      assert.include((yield* Fiber.join(unreadable)).message, "a value of the result cannot be read")
      assert.strictEqual((yield* numbers).lost, 11)
    }))

  it.effect("end with a shutdown: what is on its way is answered, and later ones are refused", () =>
    Effect.gen(function*() {
      const { backends, db, gated, inFlight, isShutDown, item, numbers, open, shared, warm } = yield* make({
        drainTimeout: "30 seconds",
        shared: { statementTimeout: "20 seconds" }
      })
      yield* warm
      yield* shared(gated(0))
      const running = yield* Effect.forkChild(Effect.all([gated(1), item(2), item(3)], { concurrency: 3 }))
      yield* inFlight(3)
      const down = yield* Effect.forkChild(db.shutdown())
      yield* isShutDown
      // The other connections are still there, and nothing more is sent on this one.
      const { sent } = yield* numbers
      assert.strictEqual(yield* item(4), "name 4")
      assert.strictEqual((yield* numbers).sent, sent)
      yield* open(1)
      assert.deepStrictEqual(yield* Fiber.join(running), [1, "name 2", "name 3"])
      const { primary, sharedReads } = yield* Fiber.join(down)
      assert.deepStrictEqual([primary.interrupted, sharedReads?.returned, sharedReads?.revoked], [0, 1, 0])
      const error = yield* failsWith(item(1), "SqlError")
      assert.include(error.message, "is closed")
      yield* until("its sessions are gone", Effect.map(backends, (list) => list.length === 0))
    }))

  it.effect("run again on the other connections when a shutdown does not wait for the shared ones", () =>
    Effect.gen(function*() {
      const { backends, db, inFlight, napThere, shared, warm } = yield* make({
        shared: { statementTimeout: "10 seconds" }
      })
      yield* warm
      yield* shared(napThere(1, 0))
      const running = yield* Effect.forkChild(napThere(2, 9000))
      yield* inFlight(1)
      const { sharedReads } = yield* db.shutdown({ drainTimeout: 0 })
      assert.strictEqual(sharedReads?.revoked, 1)
      assert.strictEqual(yield* Fiber.join(running), 2)
      yield* until("its sessions are gone", Effect.map(backends, (list) => list.length === 0))
    }))

  it.effect("give their connections back when they are not needed, to a pool that closes them", () =>
    Effect.gen(function*() {
      const { backends, item, numbers, shared } = yield* make({ max: 2, idleTimeout: "500 millis" })
      yield* shared(item(1))
      yield* until("it is given back", Effect.map(numbers, ({ connections }) => connections.inUse === 0))
      yield* until("all are closed", Effect.map(backends, (list) => list.length === 0))
      assert.strictEqual(yield* shared(item(2)), "name 2")
    }))

  it.effect(
    "give right answers in a hundred fibers that read, write, fail, take long and are interrupted, under kills",
    () =>
      Effect.gen(function*() {
        const { inFlight, item, judge, nap, numbers, shared, sql, warm } = yield* make({
          max: 8,
          shared: { max: 2 },
          acquireTimeout: "1 minute"
        })
        yield* warm
        yield* shared(nap(1, 0))
        const kill = Effect.gen(function*() {
          const before = yield* numbers
          yield* Effect.sleep(150)
          yield* until("reads go on", Effect.map(numbers, ({ answered }) => answered > before.answered))
          yield* judge(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() " +
              "and application_name like '%shared%'"
          )
        })
        const killing = yield* Effect.forkChild(Effect.forever(kill))
        const step = (fiber: number) =>
          Effect.gen(function*() {
            const id = yield* Random.nextIntBetween(1, 1000)
            const kind = yield* Random.nextIntBetween(0, 100)
            if (kind < 60) assert.strictEqual(yield* item(id), `name ${id}`)
            else if (kind < 70) {
              const rows = yield* sql`select id, name from item where id between ${id} and ${id + 5} order by id`
              assert.deepStrictEqual(
                rows,
                numbersTo(6).map((n) => ({ id: id + n - 1, name: `name ${id + n - 1}` })).filter((row) =>
                  row.id <= 1000
                )
              )
            } else if (kind < 80) {
              const state = yield* Effect.flip(sql`select 1 / (${id}::int4 - ${id}::int4) as n`)
              assert.strictEqual(PgPoolError.sqlStateOf(state), "22012")
            } else if (kind < 85) assert.strictEqual(yield* nap(id, 3), id)
            else if (kind < 87) assert.strictEqual(yield* nap(id, 120), id)
            else if (kind < 95) yield* Effect.timeoutOption(nap(id, 5), id % 8)
            else {
              yield* sql`insert into stored values (${fiber})`
              return 1
            }
            return 0
          })
        const stored = yield* Effect.forEach(
          numbersTo(100),
          (fiber) =>
            Effect.map(
              Effect.replicateEffect(step(fiber), 25),
              (counts) => counts.filter((hasStored) => hasStored).length
            ),
          {
            concurrency: "unbounded"
          }
        )
        // The kills go on until one of them has met a read.
        yield* until(
          "kills have met reads, and others were answered",
          Effect.andThen(
            Effect.forEach(numbersTo(8), item, { concurrency: "unbounded" }),
            Effect.map(numbers, ({ answered, lost }) => lost >= 1 && answered >= 100)
          )
        )
        yield* Fiber.interrupt(killing)
        assert.deepStrictEqual(
          yield* judge("select n, count(*)::int4 as times from stored group by n order by n"),
          numbersTo(100).flatMap((fiber) => stored[fiber - 1] === 0 ? [] : [{ n: fiber, times: stored[fiber - 1] }])
        )
        yield* inFlight(0)
        const { abandoned, answered, connections: _, inFlight: __, late, lost, refused, sent } = yield* numbers
        assert.strictEqual(sent, answered + abandoned + refused + late + lost)
      }),
    120_000
  )
})
