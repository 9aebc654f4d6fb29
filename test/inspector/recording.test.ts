import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, type Scope } from "effect"
import { Inspector } from "effect-connection-pool/inspector"
import { HttpEffect, HttpMiddleware, HttpRouter, type HttpServerRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { mostLanes } from "../../src/inspector/internal/recorder.ts"
import { mostInAnswer } from "../../src/inspector/internal/routes.ts"
import * as Inspected from "../support/inspector.ts"
import { borrow, make, settle } from "../support/pools.ts"

describe("what an inspector records", () => {
  it.effect("is what each connection does once in each interval, from the moment its layer is built", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 2 })
      const inspector = yield* Inspected.make({ watch: [pool] })
      const lease = yield* borrow(pool, { label: "report" })
      yield* TestClock.adjust("1 second")
      yield* lease.giveBack
      yield* TestClock.adjust("1 second")
      const { frames } = yield* inspector.events()
      assert.deepStrictEqual(frames.map(({ number }) => number), [1, 2, 3])
      assert.deepStrictEqual(frames.map(({ at }) => at), [0, 1000, 2000])
      assert.deepStrictEqual(frames.map(({ lanes }) => lanes), [
        [],
        [{ id: 1, state: "in use", sinceMillis: 1000, uses: 0, holder: "report" }],
        [{ id: 1, state: "idle", sinceMillis: 1000, uses: 1 }]
      ] as never)
      assert.deepStrictEqual(frames.map(({ inUse }) => inUse), [0, 1, 0])
    }))

  it.effect("is given once: a page that says what it has seen gets what is new", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const inspector = yield* Inspected.make({ watch: [pool] })
      yield* TestClock.adjust("2 seconds")
      const { frames, happenings, instance } = yield* inspector.events()
      assert.deepStrictEqual([frames.length, happenings.length], [3, 0])
      yield* pool.pause
      yield* settle
      const seen = `?instance=${instance}&frame=3&happening=0`
      const next = yield* inspector.events(seen)
      assert.deepStrictEqual(next.frames, [])
      assert.deepStrictEqual(next.happenings.map(({ number, tag, text }) => ({ number, tag, text })), [
        { number: 1, tag: "Paused", text: "paused: callers wait" }
      ])
      yield* TestClock.adjust("1 second")
      const last = yield* inspector.events(`?instance=${instance}&frame=3&happening=1`)
      assert.deepStrictEqual([last.frames.map(({ number }) => number), last.happenings], [[4], []])
      // Numbers of an inspector that is gone mean nothing.
      assert.strictEqual((yield* inspector.events("?instance=another&frame=3&happening=1")).frames.length, 4)
      assert.strictEqual((yield* inspector.events(`?instance=${instance}&frame=-7&happening=x`)).frames.length, 4)
      assert.strictEqual((yield* inspector.events(`?instance=${instance}&frame=900&happening=900`)).frames.length, 4)
    }))

  it.effect("has every event but those of leases, which cost no more than without it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, acquireTimeout: "1 second" })
      const inspector = yield* Inspected.make({ watch: [pool] })
      yield* pool.use(() => Effect.void)
      const lease = yield* borrow(pool)
      const late = yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.void)))
      yield* TestClock.adjust("1 second")
      yield* lease.giveBack
      yield* pool.recycle
      yield* settle
      assert.isDefined(late.pollUnsafe())
      const { happenings } = yield* inspector.events()
      const tags = happenings.map(({ tag }) => tag)
      assert.includeMembers(tags, ["Connected", "AcquireTimedOut", "Evicted", "Disconnected", "Recycled"])
      assert.notInclude(tags, "CheckedOut")
      assert.notInclude(tags, "Returned")
      assert.deepStrictEqual(happenings.find(({ tag }) => tag === "Evicted"), {
        number: happenings.find(({ tag }) => tag === "Evicted")!.number,
        at: 1000,
        pool: 0,
        source: "pool",
        tag: "Evicted",
        level: "quiet",
        text: "connection 1 is evicted: recycled",
        connection: 1,
        evictReason: "recycled"
      })
    }))

  it.effect("stays as large in an hour as in five minutes", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 2 })
      const inspector = yield* Inspected.make({ watch: [pool], history: "1 minute" })
      for (let minute = 0; minute < 60; minute++) {
        yield* pool.use(() => Effect.void)
        for (let event = 0; event < 30; event++) {
          yield* pool.pause
          yield* pool.resume
        }
        yield* TestClock.adjust("1 minute")
      }
      const { at, frames, happenings } = yield* inspector.events()
      assert.strictEqual(at, 3_600_000)
      assert.strictEqual(frames.length, 60)
      assert.deepStrictEqual([frames[0]!.at, frames.at(-1)!.at], [at - 59_000, at])
      assert.strictEqual(happenings.length, 1000)
      assert.strictEqual(happenings.at(-1)!.number - happenings[0]!.number, 999)
    }))

  it.effect("draws some connections of a large pool, and counts the others", () =>
    Effect.gen(function*() {
      const size = mostLanes + 20
      const { pool } = yield* make({ min: size, max: size, start: "eager" })
      const inspector = yield* Inspected.make({ watch: [pool] })
      const { frames: [frame] } = yield* inspector.events()
      assert.deepStrictEqual(
        frame!.lanes.map(({ id }) => id),
        Array.from({ length: mostLanes }, (_, index) => index + 1)
      )
      assert.strictEqual(frame!.more, 20)
    }))

  it.effect("comes in several answers if it is much, each frame in one of them", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ min: mostLanes, max: mostLanes, start: "eager" })
      const inspector = yield* Inspected.make({ watch: [pool] })
      yield* TestClock.adjust("99 seconds")
      const numbers: Array<number> = []
      let [answers, hasMore, seen] = [0, true, ""]
      while (hasMore) {
        const answer = yield* inspector.events(seen)
        assert.isBelow(JSON.stringify(answer.frames).length, mostInAnswer * 1.5)
        numbers.push(...answer.frames.map(({ number }) => number))
        hasMore = answer.hasMore
        seen = `?instance=${answer.instance}&frame=${numbers.at(-1)}`
        answers++
      }
      assert.deepStrictEqual(numbers, Array.from({ length: 100 }, (_, index) => index + 1))
      assert.isAbove(answers, 3)
    }))

  it.effect("is asked for without a line in the log of the application, and the page with one", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const routes = yield* HttpRouter.toHttpEffect(
        Inspector.layer({ watch: [pool], authorization: Inspected.everybody })
      )
      const said: Array<string> = []
      const logger = Logger.make(({ message }) => said.push(String(message)))
      const context = yield* Effect.provide(Effect.context<never>(), Logger.layer([logger]))
      const handle = HttpEffect.toWebHandlerWith<never, HttpServerRequest.HttpServerRequest | Scope.Scope>(context)(
        routes,
        HttpMiddleware.logger
      )
      const ask = (path: string) => Effect.promise(() => handle(new Request(`https://ops.example.com${path}`)))
      for (const path of ["/inspector", "/inspector/events", "/inspector/events?pool=0"]) {
        assert.strictEqual((yield* ask(path)).status, 200)
      }
      assert.deepStrictEqual(said, ["Sent HTTP response"])
    }))

  it.effect("ends with the layer, and a pool that is closed stays on the page", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const inspector = yield* Inspected.make({ watch: [pool] })
      yield* pool.shutdown()
      yield* TestClock.adjust("2 seconds")
      const { frames, pool: view } = yield* inspector.events()
      assert.deepStrictEqual([frames.length, view!.isOpen], [3, false])
      yield* Effect.scoped(Inspected.make({ watch: [pool] }))
      yield* TestClock.adjust("1 minute")
    }))
})
