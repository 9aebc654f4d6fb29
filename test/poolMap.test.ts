import { assert, describe, it } from "@effect/vitest"
import { Context, Data, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { ConnectionPool, InMemoryConnection, PoolMap } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { hold, makeMap, OpenError, shapeOf } from "./support/poolMaps.ts"
import { settle } from "./support/pools.ts"

describe("a map of pools", () => {
  it.effect("opens a pool when it is asked for, once for all who ask at the same time", () =>
    Effect.gen(function*() {
      const { log, map, opening } = yield* makeMap()
      assert.deepStrictEqual(log, [])
      yield* opening.close
      const callers = yield* Effect.forEach(
        ["a", "a", "b", "a"],
        (key) => Effect.forkChild(map.use(key, Effect.succeed))
      )
      yield* settle
      assert.deepStrictEqual(log, ["opening a1", "opening b2"])
      assert.deepStrictEqual(yield* shapeOf(map), { opening: 2, waiting: 4 })
      yield* opening.open
      const pools = yield* Effect.forEach(callers, Fiber.join)
      assert.deepStrictEqual(pools.map(({ number }) => number), [1, 1, 2, 1])
      assert.deepStrictEqual(yield* map.use("a", Effect.succeed), { key: "a", number: 1 })
      const { evictions, hits, misses, opens } = yield* map.stats
      assert.deepStrictEqual({ hits, misses, opens }, { hits: 1, misses: 4, opens: 2 })
      assert.deepStrictEqual(evictions, { idle: 0, room: 0, invalidated: 0, closed: 0, shutdown: 0 })
    }))

  it.effect("gives a failure of open to all who wait, closes what it has opened, and does not keep it", () =>
    Effect.gen(function*() {
      const { failures, log, map, opening } = yield* makeMap()
      yield* opening.close
      failures.push(new OpenError("no disk"))
      const callers = yield* Effect.forEach(
        [1, 2, 3],
        () => Effect.forkChild(PoolAssert.failsWith(map.use("a", Effect.succeed), "OpenError"))
      )
      yield* settle
      yield* opening.open
      const errors = yield* Effect.forEach(callers, Fiber.join)
      assert.deepStrictEqual(errors.map(({ message }) => message), ["no disk", "no disk", "no disk"])
      assert.deepStrictEqual(yield* map.use("a", Effect.succeed), { key: "a", number: 2 })
      assert.deepStrictEqual(log, ["opening a1", "closing a1", "closed a1", "opening a2", "open a2"])
      const { openErrors, openFailures, opens } = yield* map.stats
      assert.deepStrictEqual({ openErrors, openFailures, opens }, { openErrors: 3, openFailures: 1, opens: 1 })
    }))

  it.effect("gives a defect of open to its callers, an interrupt of itself too, and works on", () =>
    Effect.gen(function*() {
      const answers: Array<Effect.Effect<string, never>> = [
        Effect.die(new Error("a bug")),
        Effect.interrupt,
        "no effect" as unknown as Effect.Effect<string>,
        Effect.succeed("works")
      ]
      const map = yield* PoolMap.make({ open: (_: string) => answers.shift()! })
      const texts: Array<string> = []
      for (let run = 0; run < 3; run++) {
        const defect = yield* Effect.catchDefect(
          map.use("a", Effect.succeed),
          (defect) => Effect.succeed(String(defect))
        )
        texts.push(defect)
      }
      assert.deepStrictEqual(texts, [
        "Error: a bug",
        `Error: open of "a" was interrupted`,
        `TypeError: open returned no Effect, but "no effect"`
      ])
      assert.strictEqual(yield* map.use("a", Effect.succeed), "works")
    }))

  it.effect("goes on opening a pool for the others if the caller that asked first is interrupted, and for nobody too", () =>
    Effect.gen(function*() {
      const { map, opening } = yield* makeMap()
      yield* opening.close
      const first = yield* Effect.forkChild(map.use("a", Effect.succeed))
      const second = yield* Effect.forkChild(map.use("a", Effect.succeed))
      const alone = yield* Effect.forkChild(map.use("b", Effect.succeed))
      yield* settle
      yield* Effect.forEach([first, alone], Fiber.interrupt)
      yield* opening.open
      assert.deepStrictEqual(yield* Fiber.join(second), { key: "a", number: 1 })
      assert.deepStrictEqual(yield* map.use("b", Effect.succeed), { key: "b", number: 2 })
      assert.strictEqual((yield* map.stats).cancelled, 2)
    }))

  it.effect("compares keys by their contents", () =>
    Effect.gen(function*() {
      class Shard extends Data.Class<{ readonly region: string; readonly number: number }> {}
      let opens = 0
      const map = yield* PoolMap.make({ open: (_: Shard) => Effect.sync(() => ++opens) })
      assert.strictEqual(yield* map.use(new Shard({ region: "eu", number: 1 }), Effect.succeed), 1)
      assert.strictEqual(yield* map.use(new Shard({ region: "eu", number: 1 }), Effect.succeed), 1)
      assert.strictEqual(yield* map.use(new Shard({ region: "eu", number: 2 }), Effect.succeed), 2)
      assert.isTrue(yield* map.has(new Shard({ region: "eu", number: 2 })))
      assert.isFalse(yield* map.has(new Shard({ region: "us", number: 2 })))
    }))

  it.effect("says which pools are open", () =>
    Effect.gen(function*() {
      const { map, opening } = yield* makeMap()
      yield* map.use("a", () => Effect.void)
      const { letGo } = yield* hold(map, "b")
      yield* opening.close
      yield* Effect.forkChild(map.use("c", () => Effect.void))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* map.keys, ["a", "b"])
      assert.deepStrictEqual(yield* Effect.forEach(["a", "b", "c", "d"], map.has), [true, true, false, false])
      assert.deepStrictEqual(yield* map.pools, [
        { key: "c", state: "opening", leases: 0, waiting: 1, ageMillis: undefined, idleMillis: 0 },
        { key: "a", state: "idle", leases: 0, waiting: 0, ageMillis: 2000, idleMillis: 2000 },
        { key: "b", state: "in use", leases: 1, waiting: 0, ageMillis: 2000, idleMillis: 0 }
      ])
      yield* letGo
    }))

  it.effect("holds a pool for a scope, until that closes", () =>
    Effect.gen(function*() {
      const { map, take } = yield* makeMap({ max: 1 })
      const scope = yield* Scope.make()
      const pool = yield* Scope.provide(map.get("a"), scope)
      assert.deepStrictEqual(pool, { key: "a", number: 1 })
      const other = yield* Effect.forkChild(map.use("b", Effect.succeed))
      assert.deepStrictEqual(yield* take, ["opening a1", "open a1"])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* Fiber.join(other), { key: "b", number: 2 })
      assert.deepStrictEqual(yield* take, ["closing a1", "closed a1", "opening b2", "open b2"])
    }))

  it.effect("leaves no lease if the scope of get is closed already, or the wait is interrupted", () =>
    Effect.gen(function*() {
      const { map, opening } = yield* makeMap()
      const scope = yield* Scope.make()
      yield* Scope.close(scope, Exit.void)
      yield* Scope.provide(map.get("a"), scope)
      assert.deepStrictEqual(yield* shapeOf(map), { idle: 1 })
      yield* opening.close
      const waiting = yield* Effect.forkChild(Effect.scoped(map.get("b")))
      yield* settle
      yield* Fiber.interrupt(waiting)
      yield* opening.open
      yield* settle
      assert.deepStrictEqual(yield* shapeOf(map), { idle: 2 })
    }))

  it.effect("gives an effect the services of a key", () =>
    Effect.gen(function*() {
      class Store extends Context.Service<Store, string>()("Store") {}
      const map = yield* PoolMap.make({
        open: (key: string) => Effect.succeed(`store of ${key}`),
        services: (pool) => Context.make(Store, pool)
      })
      assert.strictEqual(yield* map.provide("a", Store), "store of a")
      assert.strictEqual(yield* map.provide("b", Store), "store of b")
      // Also those that read one and the other.
      assert.strictEqual(yield* map.provide("a", map.provide("b", Store)), "store of b")
    }))

  it.effect("builds the layers in open anew for each key, also those that the application has built", () =>
    Effect.gen(function*() {
      class Database extends Context.Service<Database, string>()("Database") {}
      class Users extends Context.Service<Users, string>()("Users") {
        // One value, as it is usual: a layer that is built twice in one memo map is shared.
        static readonly layer = Layer.effect(Users, Effect.map(Database, (database) => `users in ${database}`))
      }
      class Customers extends PoolMap.Service<Customers, string, Context.Context<Users>, never, Users>()("Customers") {}
      // The application has the same layer over a database of its own. Who gets a copy of that would see it all.
      const layer = Layer.provideMerge(
        Customers.layer({
          open: (key) => Layer.build(Layer.provide(Users.layer, Layer.succeed(Database, key))),
          services: (context) => context
        }),
        Layer.provide(Users.layer, Layer.succeed(Database, "main"))
      )
      const users = yield* Effect.gen(function*() {
        const customers = yield* Customers
        return yield* Effect.forEach(["ada", "bob"], (key) => customers.provide(key, Users))
      }).pipe(Effect.provide(layer))
      assert.deepStrictEqual(users, ["users in ada", "users in bob"])
    }))

  it.effect("tells what happens as events", () =>
    Effect.gen(function*() {
      const { failures, map } = yield* makeMap({ max: 1, idleTimeout: "1 minute" })
      const events = yield* Effect.forkChild(Stream.runCollect(map.events))
      yield* settle
      yield* map.use("a", () => Effect.void)
      failures.push(new OpenError("no disk"))
      yield* PoolAssert.failsWith(map.use("b", () => Effect.void), "OpenError")
      yield* map.use("c", () => Effect.void)
      yield* TestClock.adjust("1 minute")
      yield* map.shutdown()
      const found = yield* Fiber.join(events)
      assert.deepStrictEqual(
        found.map((event) => ("key" in event ? `${event._tag} ${event.key}` : event._tag)),
        [
          "Opened a",
          "Evicted a",
          "Closed a",
          "OpenFailed b",
          "Opened c",
          "Evicted c",
          "Closed c",
          "Draining",
          "ShutDown"
        ]
      )
      assert.deepStrictEqual(found.flatMap((event) => event._tag === "Evicted" ? [event.reason] : []), ["room", "idle"])
    }))

  it.effect("holds the pools of shards, or any other ConnectionPool", () =>
    Effect.gen(function*() {
      const map = yield* PoolMap.make({
        open: (shard: number) =>
          ConnectionPool.make({ factory: InMemoryConnection.factory(), name: `shard-${shard}`, max: 2 })
      })
      yield* map.use(1, (pool) => pool.use((connection) => connection.set("greeting", "hello")))
      const read = (shard: number) => map.use(shard, (pool) => pool.use((connection) => connection.get("greeting")))
      assert.deepStrictEqual(yield* read(1), "hello")
      assert.deepStrictEqual(yield* read(2), undefined)
    }))
})
