/** One connection that reads share: how much it takes, whom it suspects, and when it is given up. Its looks are done by hand. */
import { assert, describe, it } from "@effect/vitest"
import type { Session } from "../../src/postgres/internal/connection/session.ts"
import { Lane } from "../../src/postgres/internal/lanes/lane.ts"

const make = (options?: { readonly window?: number; readonly mostInFlight?: number }) => {
  const seen = { now: 0, left: 0, aborted: "", probes: new Array<() => void>(), isAlive: true }
  const session = {
    driver: {},
    get mayBeLent() {
      return seen.isAlive
    },
    get isAlive() {
      return seen.isAlive
    },
    abort: (reason: string) => {
      seen.aborted = reason
      seen.isAlive = false
    }
  } as unknown as Session
  const lane = new Lane({
    session,
    now: () => seen.now,
    window: options?.window ?? 8,
    mostInFlight: options?.mostInFlight ?? 16,
    timeoutMillis: 100,
    left: () => seen.left++,
    probe: (_, ended) => seen.probes.push(ended)
  })
  /** A whole look: with the second one, where the first leaves it open. */
  const look = () => {
    seen.now += 50
    if (lane.look(seen.now) < 50) lane.look(++seen.now)
  }
  return { lane, look, seen }
}

const send = (lane: Lane, count: number) => Array.from({ length: count }, () => lane.begin())

describe("a shared connection", () => {
  it("takes more reads while they are answered soon, up to the option", () => {
    const { lane } = make({ window: 2, mostInFlight: 4 })
    for (const [window, after] of [[2, 4], [4, 4]] as const) {
      const numbers = send(lane, window)
      assert.isFalse(lane.isFree)
      assert.strictEqual(lane.inFlight, window)
      for (const number of numbers) lane.answered(number, 1)
      assert.isTrue(lane.isFree)
      assert.strictEqual(lane.window, after)
    }
  })

  it("takes half as many when they are answered late, once in a look, and always one", () => {
    const { lane, look } = make({ window: 8 })
    for (const number of send(lane, 8)) lane.answered(number, 51)
    assert.strictEqual(lane.window, 4)
    look()
    lane.answered(lane.begin(), 51)
    assert.strictEqual(lane.window, 2)
    for (const _ of [1, 2, 3]) {
      look()
      lane.answered(lane.begin(), 51)
    }
    assert.strictEqual(lane.window, 1)
    assert.isTrue(lane.isFree)
  })

  it("is ended when a read has waited for four looks, however many others were answered", () => {
    const { lane, look, seen } = make()
    const [first] = send(lane, 6)
    look()
    for (const number of [0, 1, 2]) {
      lane.answered(first! + number, 60)
      look()
    }
    assert.strictEqual(seen.aborted, "")
    look()
    assert.include(seen.aborted, "a read has waited for more than 200 ms")
    // All that are on their way are told, and only the first of them is to blame.
    assert.deepStrictEqual([3, 4, 5].map((number) => lane.lost(number)), [true, false, false])
    assert.strictEqual(seen.left, 1)
  })

  it("blames the read that the server works on for a whole look, and takes no others meanwhile", () => {
    const { lane, look } = make()
    const numbers = send(lane, 3)
    look()
    assert.isTrue(lane.isFree)
    look()
    assert.isFalse(lane.isFree)
    assert.deepStrictEqual(numbers.map((number) => lane.answered(number, 10)), [true, false, false])
    assert.isTrue(lane.isFree)
  })

  it("blames nobody for the time in which this process was busy", () => {
    const { lane, look, seen } = make()
    const numbers = send(lane, 2)
    look()
    // It was busy for a second. The answers are there, and are read after the timers.
    seen.now += 1000
    assert.strictEqual(lane.look(seen.now), 1)
    assert.isFalse(lane.answered(numbers[0]!, 1000))
    assert.strictEqual(lane.look(++seen.now), 50)
    assert.isTrue(lane.isFree)
    assert.strictEqual(seen.aborted, "")
  })

  it("does not blame a read that was sent just before the look", () => {
    const { lane, look } = make()
    look()
    const [number] = send(lane, 1)
    look()
    assert.isTrue(lane.isFree)
    assert.isFalse(lane.answered(number!, 1))
  })

  it("asks for the end of a read whose caller was interrupted, unless a later one tells it", () => {
    const { lane, seen } = make()
    const [first, second, third] = send(lane, 3)
    lane.leave()
    lane.abandoned(first!)
    assert.strictEqual(seen.probes.length, 0)
    lane.answered(second!, 1)
    lane.abandoned(third!)
    assert.deepStrictEqual([seen.probes.length, lane.inFlight, seen.left], [1, 2, 0])
    seen.probes[0]!()
    assert.deepStrictEqual([lane.inFlight, seen.left], [0, 1])
  })

  it("blames a read whose caller was interrupted when it has held up others already", () => {
    const { lane, look } = make()
    const [first, second] = send(lane, 2)
    look()
    look()
    assert.isFalse(lane.abandoned(second!))
    assert.isTrue(lane.abandoned(first!))
  })

  it("is left once, when nothing is on its way, and takes nothing after that was asked for", () => {
    const { lane, seen } = make()
    const [number] = send(lane, 1)
    lane.leave()
    assert.isFalse(lane.isFree)
    assert.strictEqual(seen.left, 0)
    lane.answered(number!, 1)
    lane.leave()
    assert.strictEqual(seen.left, 1)
  })

  it("is left after a second without reads, and after ten in any case", () => {
    const idle = make()
    idle.lane.answered(idle.lane.begin(), 1)
    for (let looks = 0; looks < 20; looks++) idle.look()
    assert.strictEqual(idle.seen.left, 0)
    idle.look()
    assert.strictEqual(idle.seen.left, 1)
    const used = make()
    for (let looks = 0; looks < 199; looks++) {
      used.lane.answered(used.lane.begin(), 1)
      used.look()
    }
    assert.strictEqual(used.seen.left, 0)
    const number = used.lane.begin()
    used.look()
    assert.deepStrictEqual([used.lane.isFree, used.seen.left], [false, 0])
    used.lane.answered(number, 1)
    assert.strictEqual(used.seen.left, 1)
  })

  it("counts a read that the driver has sent again, behind later ones, as the end of none", () => {
    const { lane } = make()
    const [first, second, third] = send(lane, 3)
    lane.answered(second!, 1)
    assert.strictEqual(lane.inFlight, 1)
    lane.answered(first!, 1)
    assert.strictEqual(lane.inFlight, 1)
    lane.answered(third!, 1)
    assert.deepStrictEqual([lane.inFlight, lane.waiting], [0, 0])
  })
})
