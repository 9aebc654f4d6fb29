/** What Effect keeps in a database: keys and values, exits, queues and journals. */
import { assert } from "@effect/vitest"
import { type Duration, Effect, Exit, Layer, Option, PrimaryKey, Schedule, Schema } from "effect"
import * as EventJournal from "effect/eventlog/EventJournal"
import * as SqlEventJournal from "effect/eventlog/SqlEventJournal"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Persistable from "effect/persistence/Persistable"
import * as PersistedQueue from "effect/persistence/PersistedQueue"
import * as Persistence from "effect/persistence/Persistence"
import { SqlClient } from "effect/sql/SqlClient"
import type { Program } from "./program.ts"

class Cached extends Persistable.Class<{ payload: { readonly id: number } }>()("Cached", {
  primaryKey: ({ id }) => String(id),
  success: Schema.String
}) {}

/** A queue on a store of its own, as another process has it. Its locks last longer than any test. */
export const openQueue = Effect.fnUntraced(function*(lockExpiration: Duration.Input = "10 minutes") {
  const store = PersistedQueue.layerStoreSql({
    pollInterval: "10 millis",
    lockRefreshInterval: "1 second",
    lockExpiration
  })
  const services = yield* Layer.build(Layer.fresh(PersistedQueue.layer.pipe(Layer.provide(store))))
  return yield* Effect.provideContext(
    PersistedQueue.make({ name: "mail", schema: Schema.String, retrySchedule: Schedule.spaced("1 millis") }),
    services
  )
})

/** The number of items of the queue that are not done. */
export const pendingItems = "select cast(count(*) as int) from effect_queue where state = 'pending'"

/** Makes the tables of all stores but the queue, as a process that runs already has done. */
export const createStores = Effect.gen(function*() {
  for (const layer of [Persistence.layerSql, Persistence.layerSqlMultiTable]) {
    for (const storeId of ["cached", "brief"]) {
      yield* Effect.provide(Effect.flatMap(Persistence.Persistence, ({ make }) => make({ storeId })), layer)
    }
  }
}).pipe(Effect.scoped, Effect.provide([KeyValueStore.layerSql(), SqlEventJournal.layer()]))

const persisting = ([how, layer]: readonly [string, typeof Persistence.layerSql]): Program => ({
  name: `persists exits in ${how}, until they expire`,
  run: ({ until }) =>
    Effect.gen(function*() {
      const persistence = yield* Persistence.Persistence
      const store = yield* persistence.make({ storeId: "cached", timeToLive: () => "1 hour" })
      const brief = yield* persistence.make({ storeId: "brief", timeToLive: () => "20 millis" })
      const [one, two] = [new Cached({ id: 1 }), new Cached({ id: 2 })]
      assert.strictEqual(PrimaryKey.value(one), "1")
      assert.isUndefined(yield* store.get(one))
      yield* store.set(one, Exit.succeed("one"))
      yield* store.set(one, Exit.succeed("again"))
      yield* store.setMany([[two, Exit.succeed("two")]])
      const found = yield* store.getMany([one, two, new Cached({ id: 3 })])
      assert.deepStrictEqual(found, [Exit.succeed("again"), Exit.succeed("two"), undefined])
      yield* store.remove(two)
      assert.isUndefined(yield* store.get(two))
      yield* brief.set(one, Exit.succeed("one"))
      yield* until("it expires", Effect.map(brief.get(one), (exit) => exit === undefined))
      assert.deepStrictEqual(yield* store.get(one), Exit.succeed("again"))
    }).pipe(Effect.scoped, Effect.provide(layer))
})

export const stores: ReadonlyArray<Program> = [
  {
    name: "stores keys and values, in the transaction of their caller",
    run: ({ transaction, value }) =>
      Effect.gen(function*() {
        const store = yield* KeyValueStore.KeyValueStore
        yield* store.set("a", "1")
        yield* store.set("b", new Uint8Array([1, 2]))
        assert.strictEqual(yield* store.get("a"), "1")
        assert.deepStrictEqual(yield* store.getUint8Array("b"), new Uint8Array([1, 2]))
        yield* Effect.exit(transaction(Effect.andThen(store.set("a", "2"), Effect.fail("no"))))
        assert.strictEqual(yield* store.get("a"), "1")
        yield* store.modify("a", (text) => `${text}!`)
        assert.strictEqual(yield* store.get("a"), "1!")
        yield* store.remove("b")
        assert.strictEqual(yield* store.size, 1)
        assert.strictEqual(yield* value("select id from effect_key_value_store"), "a")
        yield* store.clear
        assert.isTrue(yield* store.isEmpty)
      }).pipe(Effect.provide(KeyValueStore.layerSql()))
  },
  ...([["one table", Persistence.layerSql], ["a table each", Persistence.layerSqlMultiTable]] as const).map(persisting),
  {
    name: "queues work for several workers, each item once, and again after a failure",
    run: ({ isRealTime, until, value }) =>
      Effect.gen(function*() {
        const [one, two] = [yield* openQueue(), yield* openQueue()]
        const items = Array.from({ length: 20 }, (_, index) => `mail ${index}`)
        yield* Effect.forEach(items, (item) => one.offer(item, { id: item }), {
          concurrency: "unbounded",
          discard: true
        })
        // Offered again with its key, it is the same item.
        yield* two.offer("mail 1", { id: "mail 1" })
        const taken: Array<string> = []
        // One that fails comes back by the clock of the database.
        let fails = isRealTime
        const takeOf = (queue: typeof one) =>
          queue.take((item) =>
            Effect.suspend(() => {
              if (item === "mail 3" && fails) {
                fails = false
                return Effect.fail("not now")
              }
              taken.push(item)
              return Effect.void
            })
          )
        for (const queue of [one, two, two]) {
          yield* Effect.forkScoped(Effect.forever(Effect.ignore(takeOf(queue))))
        }
        yield* until("all are taken", Effect.sync(() => taken.length >= items.length))
        yield* until("all are done", Effect.map(value(pendingItems), (pending) => pending === 0))
        assert.deepStrictEqual(taken.toSorted(), items.toSorted())
      }).pipe(Effect.scoped)
  },
  {
    name: "journals events with what they cause, or neither, and sends each to a remote once",
    run: ({ value }) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table counted (n integer)`
        const journal = yield* EventJournal.EventJournal
        const write = (n: number, end: Effect.Effect<void, string>) =>
          journal.write({
            event: "Counted",
            primaryKey: String(n),
            payload: new Uint8Array([n]),
            effect: () => Effect.andThen(sql`insert into counted values (${n})`, end)
          })
        const remote = EventJournal.makeRemoteIdUnsafe()
        const sent = journal.withRemoteUncommited(
          remote,
          (entries) => Effect.succeed(entries.map(({ primaryKey }) => primaryKey))
        )
        yield* write(1, Effect.void)
        yield* Effect.exit(write(2, Effect.fail("no")))
        assert.deepStrictEqual((yield* journal.entries).map(({ primaryKey }) => primaryKey), ["1"])
        assert.strictEqual(yield* value("select cast(sum(n) as int) from counted"), 1)
        assert.deepStrictEqual(yield* sent, Option.some(["1"]))
        assert.deepStrictEqual(yield* sent, Option.none())
        yield* write(3, Effect.void)
        assert.deepStrictEqual(yield* sent, Option.some(["3"]))
      }).pipe(Effect.provide(SqlEventJournal.layer()))
  }
]
