/** Callers whose work may run together, with a driver that the test controls. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { fork, make } from "./support/groupDriver.ts"
import { settle } from "./support/pools.ts"

const names = (count: number): ReadonlyArray<string> => Array.from({ length: count }, (_, n) => `${n}`)

const raise = (thrown: unknown) => () => {
  throw thrown
}

const lasting = { _tag: "unshared", isLasting: true } as const
const passing = { _tag: "unshared", isLasting: false } as const

describe("a group", () => {
  it.effect("is the callers directly behind the leader, up to the first that is no caller of this group", () =>
    Effect.gen(function*() {
      const { faulty, group, line, pool, ran, write } = yield* make()
      const other = group()
      const exits = yield* line([
        write("a"),
        write("b"),
        pool.useSync(() => "lease"),
        write("c"),
        other("x"),
        other("y"),
        write("d"),
        write("e")
      ])
      assert.deepStrictEqual(exits, ["a", "b", "lease", "c", "x", "y", "d", "e"].map((name) => Exit.succeed(name)))
      assert.deepStrictEqual(ran, [["a", "b"], "c", ["x", "y"], ["d", "e"]])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("takes no further caller after a millisecond, from the end of the leader's work", () =>
    Effect.gen(function*() {
      const { line, ran, script, write } = yield* make()
      script.workMillis = 0.5
      yield* line(names(7).map((name) => write(name)))
      assert.deepStrictEqual(ran, [["0", "1", "2"], ["3", "4", "5"], "6"])
    }))

  it.effect("takes callers for as long as the last group took to end", () =>
    Effect.gen(function*() {
      const { line, ran, script, write } = yield* make()
      script.endMillis = 4
      yield* line(["a", "b"].map((name) => write(name)))
      // The work itself is no part of that time.
      script.workMillis = 2
      script.endMillis = 0
      yield* line(names(9).map((name) => write(name)))
      assert.deepStrictEqual(ran, [["a", "b"], ["0", "1", "2"], ["3", "4"], ["5", "6"], ["7", "8"]])
    }))

  it.effect("has callers that joined the line after its leader began", () =>
    Effect.gen(function*() {
      const { line, ran, write } = yield* make()
      let late: Fiber.Fiber<unknown, unknown> | undefined
      yield* line([write("a"), write("b", () => void (late = Effect.runFork(write("late"))))])
      assert.deepStrictEqual(yield* Fiber.await(late!), Exit.succeed("late"))
      assert.deepStrictEqual(ran, [["a", "b", "late"]])
    }))
})

describe("a caller that leaves a group during the work of another", () => {
  it.effect("makes it no group if there is no other", () =>
    Effect.gen(function*() {
      const { events, line, ran, waited, watch, write } = yield* make()
      yield* watch
      let other: Fiber.Fiber<unknown, unknown> | undefined
      const exits = yield* line([
        write("a", () => other!.interruptUnsafe()),
        Effect.withFiber((fiber) => {
          other = fiber
          return write("b")
        })
      ])
      assert.deepStrictEqual(exits.map(({ _tag }) => _tag), ["Success", "Failure"])
      assert.deepStrictEqual(ran, [["a"]])
      assert.deepStrictEqual(yield* events("Grouped"), [])
      // So they have no company either.
      waited.splice(0)
      yield* write("c")
      assert.deepStrictEqual(waited, [])
    }))

  it.effect("ends the group there, so that no work runs of those who leave with it", () =>
    Effect.gen(function*() {
      const { line, pool, ran, write } = yield* make()
      const exits = yield* line([
        write("a"),
        write("b", () => void Effect.runFork(pool.shutdown())),
        write("c"),
        write("d")
      ])
      assert.deepStrictEqual(exits.map(({ _tag }) => _tag), ["Success", "Failure", "Failure", "Failure"])
      assert.deepStrictEqual(ran, [["undone", "a", "b"], "a"])
    }))
})

describe("the answer of a caller of a group", () => {
  it.effect("may be a failure, and the others are answered all the same", () =>
    Effect.gen(function*() {
      const { line, ran, write } = yield* make()
      const exits = yield* line([write("a"), write("b", raise("no")), write("c"), write("d", raise("never"))])
      assert.deepStrictEqual(exits, [Exit.succeed("a"), Exit.fail("no"), Exit.succeed("c"), Exit.fail("never")])
      assert.deepStrictEqual(ran, [["a", "b", "c", "d"]])
    }))

  it.effect("is that of its work alone if the group is undone, and only then do the next run together", () =>
    Effect.gen(function*() {
      const { events, line, ran, script, watch, write } = yield* make()
      yield* watch
      script.workMillis = 0.5
      script.endMillis = 3
      script.outcome = { _tag: "undone", why: "a test" }
      const exits = yield* line(names(6).map((name) => write(name)))
      assert.deepStrictEqual(exits, names(6).map((name) => Exit.succeed(name)))
      assert.deepStrictEqual(ran, [["undone", "0", "1", "2"], "0", "1", "2", ["3", "4", "5"]])
      assert.deepStrictEqual(
        (yield* events("Grouped")).map(({ size, tookMillis, undoneBecause }) => [size, tookMillis, undoneBecause]),
        [[3, 4.5, "a test"], [3, 4.5, undefined]]
      )
    }))

  it.effect("does not come a turn later if the group is undone, and only the next group runs in the next turn", () =>
    Effect.gen(function*() {
      const { line, ran, script, write } = yield* make()
      const turn = () => {
        ran.push("turn")
        handle = setImmediate(turn)
      }
      script.workMillis = 0.5
      script.outcome = { _tag: "undone", why: "a test" }
      let handle = setImmediate(turn)
      yield* line(names(6).map((name) => write(name)))
      clearImmediate(handle)
      const from = ran.findIndex((one) => typeof one === "object")
      assert.deepStrictEqual(ran.slice(from, from + 4), [["undone", "0", "1", "2"], "0", "1", "2"])
      assert.strictEqual(ran[from + 4], "turn")
      assert.deepStrictEqual(ran.findLast((one) => one !== "turn"), ["3", "4", "5"])
    }))

  it.effect("is a failure for the leader alone if the group could not be undone, and the others run after it", () =>
    Effect.gen(function*() {
      const { events, line, ran, script, watch, write } = yield* make()
      yield* watch
      script.outcome = { _tag: "failed", answer: Exit.fail("lost") }
      const exits = yield* line(["a", "b", "c"].map((name) => write(name)))
      assert.deepStrictEqual(exits, [Exit.fail("lost"), Exit.succeed("b"), Exit.succeed("c")])
      assert.deepStrictEqual(ran, [["failed", "a", "b", "c"], ["b", "c"]])
      assert.deepStrictEqual((yield* events("Grouped")).map(({ size }) => size), [2])
    }))

  it.effect("is that of the leader's work alone if nothing could be shared, and the others form the next group", () =>
    Effect.gen(function*() {
      for (const refusal of [lasting, passing]) {
        const { events, line, ran, script, watch, write } = yield* make()
        yield* watch
        script.refusal = refusal
        const exits = yield* line(["a", "b", "c"].map((name) => write(name)))
        assert.deepStrictEqual(exits, ["a", "b", "c"].map((name) => Exit.succeed(name)))
        assert.deepStrictEqual(ran, [["unshared", "a"], "a", ["b", "c"]])
        assert.deepStrictEqual((yield* events("Grouped")).map(({ size }) => size), [2])
      }
    }))

  it.effect("comes after another attempt if the driver says so, in the same lease", () =>
    Effect.gen(function*() {
      const { line, pool, ran, script, write } = yield* make()
      script.mayRetry = (answer) => Exit.isFailure(answer)
      const gate = yield* Latch.make()
      script.retry = (attempt) => Effect.andThen(gate.await, attempt)
      const failsOnce = () => {
        let runs = 0
        return () => ++runs === 1 ? raise("locked")() : runs
      }
      const leader = yield* fork(line([write("a", failsOnce()), pool.useSync(() => ran.push("lease"))]))
      yield* settle
      assert.deepStrictEqual(ran, ["a"])
      assert.deepStrictEqual((yield* pool.stats).inUse, 1)
      yield* gate.open
      assert.deepStrictEqual(yield* Fiber.join(leader), [Exit.succeed(2), Exit.succeed(3)])
      assert.deepStrictEqual(ran, ["a", "a", "lease"])
      // A caller that found the connection idle has made one attempt in its first step.
      ran.splice(0)
      const runs = [failsOnce(), () => raise("locked")()]
      assert.deepStrictEqual(yield* write("b", runs[0]), 2)
      assert.deepStrictEqual(yield* Effect.flip(write("c", runs[1])), "locked")
      assert.deepStrictEqual(ran, ["b", "b", "c", "c", "c"])
    }))
})

describe("a caller of a group", () => {
  it.effect("is told that it may have to wait, unless it runs in its first step", () =>
    Effect.gen(function*() {
      const { getCompany, line, waited, write } = yield* make()
      yield* write("alone")
      assert.deepStrictEqual(waited, [])
      yield* line([write("a"), write("b")])
      assert.deepStrictEqual(waited, ["a", "b"])
      yield* getCompany
      yield* write("c")
      assert.deepStrictEqual(waited, ["c"])
    }))

  it.effect("is refused with invalid options, whether it would have to wait or not", () =>
    Effect.gen(function*() {
      const { getCompany, line, pool, ran, write } = yield* make()
      const wrong = Effect.catchTag(
        write("wrong", undefined, { timeout: -1 }) as Effect.Effect<unknown, { readonly _tag: "PoolConfigError" }>,
        "PoolConfigError",
        (error) => Effect.succeed(error._tag)
      )
      assert.strictEqual(yield* wrong, "PoolConfigError")
      const exits = yield* line([write("a"), wrong, write("b")])
      assert.deepStrictEqual(exits[1], Exit.succeed("PoolConfigError"))
      assert.deepStrictEqual(ran, [["a", "b"]])
      yield* getCompany
      assert.strictEqual(yield* wrong, "PoolConfigError")
      assert.deepStrictEqual(ran, [])
      const { checkouts, returns } = yield* pool.stats
      assert.strictEqual(checkouts, returns)
    }))

  it.effect("waits for others while callers have company, until one has waited in vain", () =>
    Effect.gen(function*() {
      const { getCompany, ran, waited, write } = yield* make()
      yield* getCompany
      const first = yield* fork(write("a"))
      const second = yield* fork(write("b"))
      yield* Fiber.join(first)
      yield* Fiber.join(second)
      assert.deepStrictEqual(ran, [["a", "b"]])
      yield* settle
      yield* write("c")
      assert.deepStrictEqual(waited.splice(0), ["a", "b", "c"])
      yield* settle
      yield* write("d")
      assert.deepStrictEqual(waited, [])
    }))

  it.effect("does not wait for others where nothing can be shared, until callers have company again", () =>
    Effect.gen(function*() {
      for (const refusal of [lasting, passing]) {
        const { getCompany, script, waited, write } = yield* make()
        yield* getCompany
        script.refusal = refusal
        const callers = [yield* fork(write("a")), yield* fork(write("b"))]
        for (const caller of callers) yield* Fiber.join(caller)
        yield* settle
        waited.splice(0)
        yield* write("c")
        assert.deepStrictEqual(waited, refusal.isLasting ? [] : ["c"])
      }
    }))

  it.effect("does not wait for others because some have waited for a connection", () =>
    Effect.gen(function*() {
      const { line, pool, waited, write } = yield* make()
      const lease = pool.useSync(() => "lease")
      yield* line([write("a"), lease, write("b"), lease, write("c")])
      waited.splice(0)
      yield* write("d")
      assert.deepStrictEqual(waited, [])
    }))
})

describe("a caller that was served under the lease of another", () => {
  it.effect("counts as a use of the connection", () =>
    Effect.gen(function*() {
      const { events, line, pool, watch, write } = yield* make({ maxUses: 5 })
      yield* watch
      const uses = Effect.map(pool.connections, (all) => all.map((one) => [one.id, one.uses]))
      // The lease for which they wait is one more.
      yield* line(names(3).map((name) => write(name)))
      assert.deepStrictEqual(yield* uses, [[1, 4]])
      yield* line(names(3).map((name) => write(name)))
      yield* settle
      assert.deepStrictEqual((yield* events("Evicted")).map(({ connection, reason }) => [connection, reason]), [
        [1, "uses"]
      ])
    }))

  it.effect("has waited until the group began, and has held the connection for as long as the group", () =>
    Effect.gen(function*() {
      const { events, line, pool, script, watch, write } = yield* make()
      yield* watch
      script.workMillis = 0.25
      script.endMillis = 2
      const gate = yield* Latch.make()
      const first = yield* fork(pool.use(() => gate.await))
      let late: Fiber.Fiber<unknown, unknown> | undefined
      const all = yield* fork(line([
        write("a"),
        write("b", () => void (late = Effect.runFork(write("late"))))
      ]))
      yield* TestClock.adjust(10)
      yield* gate.open
      yield* Fiber.join(first)
      yield* Fiber.join(all)
      yield* Fiber.join(late!)
      const waits = (yield* events("CheckedOut")).map(({ waitedMillis }) => waitedMillis)
      const holds = (yield* events("Returned")).map(({ heldMillis }) => heldMillis)
      // Two leases, then the leader, which ends last, and the others. The late one joined the line after 0.25 ms.
      assert.deepStrictEqual(waits, [0, 10, 10, 10, 0])
      assert.deepStrictEqual(holds, [10, 0, 2.75, 2.5, 2.75])
      assert.deepStrictEqual((yield* pool.stats).maxWaitMillis, 10)
    }))

  it.effect("is no leak, though the lease of its leader was reported as one", () =>
    Effect.gen(function*() {
      const { events, line, pool, script, watch, write } = yield* make({ leakThreshold: "1 second" })
      yield* watch
      let runs = 0
      const gate = yield* Latch.make()
      script.mayRetry = (answer) => Exit.isFailure(answer)
      script.retry = (attempt) => Effect.andThen(gate.await, attempt)
      const leader = yield* fork(line([write("a", () => ++runs === 1 ? raise("locked")() : runs)]))
      yield* settle
      yield* TestClock.adjust("3 seconds")
      const other = yield* fork(write("b"))
      yield* gate.open
      yield* Fiber.join(leader)
      yield* Fiber.join(other)
      const held = (yield* events("LeakSuspected")).map(({ holder }) => holder.fiber)
      assert.deepStrictEqual(held.length, 1)
      assert.deepStrictEqual(
        (yield* events("LeakReturned")).map(({ holder }) => [holder.fiber, holder.heldMillis]),
        [[held[0], 3000]]
      )
      assert.deepStrictEqual((yield* events("Returned")).map(({ heldMillis }) => heldMillis), [0, 0, 3000])
      assert.strictEqual((yield* pool.stats).leaks, 1)
    }))

  it.effect("has the connection judged by its failure, and the group keeps it to the end", () =>
    Effect.gen(function*() {
      const { events, line, ran, watch, write } = yield* make({ driver: { judge: () => "fatal" } })
      yield* watch
      const exits = yield* line([write("a"), write("b", raise("fatal")), write("c"), write("d")])
      assert.deepStrictEqual(exits.map(({ _tag }) => _tag), ["Success", "Failure", "Success", "Success"])
      assert.deepStrictEqual(ran, [["a", "b", "c", "d"]])
      assert.deepStrictEqual((yield* events("Evicted")).map(({ reason }) => reason), ["fatal"])
    }))

  it.effect("does not have the connection judged if it succeeds", () =>
    Effect.gen(function*() {
      const { faulty, line, write } = yield* make({ driver: { judge: () => "fatal" } })
      yield* line(names(4).map((name) => write(name)))
      yield* settle
      assert.strictEqual((yield* faulty.counters).opened, 1)
    }))
})
