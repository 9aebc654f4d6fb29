import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import { TransactionConnection } from "effect/sql/SqlClient"
import { queryObjects } from "node:v8"
import { Deferral, HeardReactivity } from "../../src/internal/transaction/reactivity.ts"
import { settle } from "../support/pools.ts"

let clients = 2000

/** The reactivity of a client, with a way to run something in one of its transactions, and what waits for the commit. */
const make = Effect.gen(function*() {
  const own = yield* Reactivity.make
  const heard = new HeardReactivity(own)
  const transactionService = TransactionConnection(clients++)
  const waiting: Array<Effect.Effect<unknown>> = []
  const transaction = { isOver: false }
  heard.defer({
    transactionService,
    afterCommit: (effect) =>
      Effect.sync(() => {
        if (transaction.isOver) throw new Error("the transaction is over")
        waiting.push(effect as Effect.Effect<unknown>)
      })
  })
  const inTransaction = Effect.provideService(transactionService, [{}, 0] as never)
  return { heard, own, inTransaction, transaction, waiting }
})

/** How often a key was told. */
const count = (reactivity: Reactivity.Reactivity) => {
  const told = { times: 0 }
  reactivity.registerUnsafe(["key"], () => told.times++)
  return told
}

describe("what is told in a transaction of a client", () => {
  it.effect("waits for the commit, and no longer once the client is closed", () =>
    Effect.gen(function*() {
      const { heard, inTransaction, own, waiting } = yield* make
      const told = count(own)
      yield* own.invalidate(["key"])
      assert.strictEqual(told.times, 1)
      yield* inTransaction(own.invalidate(["key"]))
      assert.deepStrictEqual([told.times, waiting.length], [1, 1])
      yield* waiting[0]!
      assert.strictEqual(told.times, 2)
      heard.end()
      yield* inTransaction(own.invalidate(["key"]))
      assert.deepStrictEqual([told.times, waiting.length], [3, 1])
    }))

  it.effect("waits also where it is told by the service of one who asks, which is changed once", () =>
    Effect.gen(function*() {
      const { heard, inTransaction, waiting } = yield* make
      const present = yield* Reactivity.make
      const ask = Effect.provideService(heard.query(["key"], Effect.void), Reactivity.Reactivity, present)
      yield* ask
      const { invalidate, mutation } = present
      yield* ask
      assert.isTrue(present.invalidate === invalidate && present.mutation === mutation)
      const told = count(present)
      yield* inTransaction(present.invalidate(["key"]))
      assert.deepStrictEqual([told.times, waiting.length], [0, 1])
      yield* waiting[0]!
      assert.strictEqual(told.times, 1)
      heard.end()
      yield* inTransaction(present.invalidate(["key"]))
      assert.deepStrictEqual([told.times, waiting.length], [2, 1])
    }))

  it.effect("waits also if a mutation tells it, which is never told after a failure", () =>
    Effect.gen(function*() {
      const { inTransaction, own, waiting } = yield* make
      const told = count(own)
      assert.strictEqual(yield* own.mutation(["key"], Effect.succeed(7)), 7)
      assert.strictEqual(told.times, 1)
      assert.strictEqual(yield* inTransaction(own.mutation(["key"], Effect.succeed(8))), 8)
      assert.deepStrictEqual([told.times, waiting.length], [1, 1])
      yield* waiting[0]!
      assert.strictEqual(told.times, 2)
      assert.strictEqual(yield* Effect.flip(inTransaction(own.mutation(["key"], Effect.fail("no")))), "no")
      assert.deepStrictEqual([told.times, waiting.length], [2, 1])
    }))

  it.effect("does not wait where the service cannot be changed, because it is frozen", () =>
    Effect.gen(function*() {
      const { heard, inTransaction, waiting } = yield* make
      const present = Object.freeze(yield* Reactivity.make)
      yield* Effect.provideService(heard.query(["key"], Effect.void), Reactivity.Reactivity, present)
      const told = count(present)
      yield* inTransaction(present.invalidate(["key"]))
      assert.deepStrictEqual([told.times, waiting.length], [1, 0])
    }))

  it.effect("does not wait for the client of a query that was asked in a transaction with the copy that Effect makes", () =>
    Effect.gen(function*() {
      const { heard, inTransaction, waiting } = yield* make
      const present = yield* Reactivity.make
      const { invalidate } = present
      const ask = Effect.provideService(heard.query(["key"], Effect.void), Reactivity.Reactivity, present)
      yield* inTransaction(ask)
      assert.strictEqual(present.invalidate, invalidate)
      const told = count(present)
      yield* inTransaction(present.invalidate(["key"]))
      assert.deepStrictEqual([told.times, waiting.length], [1, 0])
    }))

  it.effect("is told at once by a fiber that has outlived it, unless another transaction is open there", () =>
    Effect.gen(function*() {
      const one = yield* make
      const other = yield* make
      yield* Effect.provideService(other.heard.query(["key"], Effect.void), Reactivity.Reactivity, one.own)
      const told = count(one.own)
      one.transaction.isOver = true
      yield* one.inTransaction(one.own.invalidate(["key"]))
      assert.deepStrictEqual([told.times, one.waiting.length], [1, 0])
      yield* one.inTransaction(other.inTransaction(one.own.invalidate(["key"])))
      assert.deepStrictEqual([told.times, one.waiting.length, other.waiting.length], [1, 0, 1])
      yield* other.waiting[0]!
      assert.strictEqual(told.times, 2)
    }))

  it.effect("waits for the transactions of each client that shares the service", () =>
    Effect.gen(function*() {
      const one = yield* make
      const other = yield* make
      const ask = Effect.provideService(other.heard.query(["key"], Effect.void), Reactivity.Reactivity, one.own)
      yield* ask
      const { invalidate } = one.own
      yield* ask
      assert.strictEqual(one.own.invalidate, invalidate)
      const told = count(one.own)
      yield* one.inTransaction(other.inTransaction(one.own.invalidate(["key"])))
      assert.deepStrictEqual([one.waiting.length + other.waiting.length, told.times], [1, 0])
      one.heard.end()
      yield* other.inTransaction(one.own.invalidate(["key"]))
      assert.deepStrictEqual([one.waiting.length + other.waiting.length, told.times], [2, 0])
      yield* one.inTransaction(one.own.invalidate(["key"]))
      assert.strictEqual(told.times, 1)
    }))
})

describe("a query that is asked with another service than that of the client", () => {
  it.effect("runs again for its keys, whichever of the two services tells them", () =>
    Effect.gen(function*() {
      const cases = [
        [["notes"], ["notes"], ["other"]],
        [{ notes: [1] }, { notes: [1] }, ["other"]],
        [{ notes: [1] }, ["notes"], { other: [1] }]
      ] as const
      for (const [keys, told, other] of cases) {
        const { heard, own } = yield* make
        const present = yield* Reactivity.make
        let runs = 0
        const query = heard.query(keys, Effect.sync(() => ++runs))
        yield* Effect.provideService(query, Reactivity.Reactivity, present)
        yield* settle
        assert.strictEqual(runs, 1)
        let expected = 1
        for (const service of [own, present]) {
          yield* service.invalidate(other)
          yield* settle
          assert.strictEqual(runs, expected)
          yield* service.invalidate(told)
          yield* settle
          assert.strictEqual(runs, ++expected)
        }
      }
    }))

  it.effect("does not run again because another query was told", () =>
    Effect.gen(function*() {
      const { heard, own } = yield* make
      const present = yield* Reactivity.make
      const runs = { notes: 0, books: 0 }
      for (const key of ["notes", "books"] as const) {
        const query = heard.query([key], Effect.sync(() => ++runs[key]))
        yield* Effect.provideService(query, Reactivity.Reactivity, present)
      }
      yield* own.invalidate(["notes"])
      yield* settle
      assert.deepStrictEqual(runs, { notes: 2, books: 1 })
    }))

  it.effect("is passed nothing more once its scope has ended", () =>
    Effect.gen(function*() {
      const { heard, own } = yield* make
      const present = yield* Reactivity.make
      const { invalidateUnsafe } = present
      let passed = 0
      Object.assign(present, {
        invalidateUnsafe: (keys: Parameters<typeof invalidateUnsafe>[0]) => {
          passed++
          invalidateUnsafe(keys)
        }
      })
      const query = Effect.provideService(heard.query(["notes"], Effect.void), Reactivity.Reactivity, present)
      yield* Effect.scoped(Effect.andThen(query, own.invalidate(["notes"])))
      assert.strictEqual(passed, 1)
      yield* own.invalidate(["notes"])
      assert.strictEqual(passed, 1)
    }))
})

describe("a service that asks a client", () => {
  const ask = ({ heard }: { readonly heard: HeardReactivity }, present: Reactivity.Reactivity) =>
    Effect.scoped(Effect.provideService(heard.query(["key"], Effect.void), Reactivity.Reactivity, present))

  const alive = (of: new() => object) => queryObjects(of, { format: "count" }) as number

  /** How many more objects of a class are alive after an effect. */
  const more = Effect.fnUntraced(function*(of: new() => object, effect: Effect.Effect<unknown>) {
    const before = alive(of)
    yield* effect
    // The fibers that run queries end in turns of their own.
    yield* settle
    return alive(of) - before
  })

  it.effect("is not kept by the client, however many there are", () =>
    Effect.gen(function*() {
      const client = yield* make
      const asked = Effect.flatMap(Reactivity.make, (present) => ask(client, present))
      yield* asked
      assert.isBelow(yield* more(Set, Effect.repeat(asked, { times: 500 })), 100)
    }))

  it.effect("keeps no closed client, however many there are", () =>
    Effect.gen(function*() {
      const present = yield* Reactivity.make
      const closed: Array<WeakRef<object>> = []
      const asked = Effect.gen(function*() {
        const client = yield* make
        closed.push(new WeakRef(client.transaction))
        yield* ask(client, present)
        client.heard.end()
      })
      yield* asked
      assert.isBelow(yield* more(Deferral, Effect.repeat(asked, { times: 500 })), 3)
      assert.isBelow(closed.filter((transaction) => transaction.deref() !== undefined).length, 3)
    }))
})
