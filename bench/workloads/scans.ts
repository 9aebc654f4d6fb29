/** Users who read by key, and scan now and then: how long their reads take, and the event loop's other work waits. */
import { Effect } from "effect"
import { type ELDHistogram, monitorEventLoopDelay } from "node:perf_hooks"
import { setTimeout } from "node:timers/promises"
import { quantile } from "simple-statistics"
import { keyOf } from "../contenders/sqlite/database.ts"
import type { Scanner } from "../contenders/sqlite/workers.ts"
import { repeat } from "./alone.ts"

export interface Mixed {
  /** What the reads by key came to, summed up. */
  readonly sum: number
  /** What the scans have counted. */
  readonly scanned: number
  /** The 99th percentile of how long a read by key took, in milliseconds. */
  readonly readMillis: number
}

/** Whether a user scans in that turn. One in twenty is a scan. */
export const scansIn = (turn: number): boolean => turn % 20 === 19

export const mixed = async (scanner: Scanner, users: number, each: number): Promise<Mixed> => {
  let [sum, scanned, turn] = [0, 0, 0]
  const took: Array<number> = []
  const next = (): Effect.Effect<void, unknown> => {
    const now = turn++
    if (scansIn(now)) {
      return Effect.map(scanner.scan, (n) => {
        scanned += n
      })
    }
    const startedAt = performance.now()
    return Effect.map(scanner.read(keyOf(now)), ({ n }) => {
      took.push(performance.now() - startedAt)
      sum += n
    })
  }
  await Effect.runPromise(Effect.all(Array.from({ length: users }, () => repeat(next, each)), {
    concurrency: "unbounded",
    discard: true
  }))
  return { sum, scanned, readMillis: quantile(took, 0.99) }
}

/** Only scans. Returns what they have counted. */
export const scans = async (scanner: Scanner, users: number, each: number): Promise<number> => {
  let scanned = 0
  const user = repeat(() => scanner.scan, each, (n) => {
    scanned += n
  })
  await Effect.runPromise(Effect.all(Array.from({ length: users }, () => user), {
    concurrency: "unbounded",
    discard: true
  }))
  return scanned
}

/** Watches how late a timer comes that wants to come each millisecond, which is in these times too. */
export const watchLoop = async <A>(work: () => Promise<A>): Promise<readonly [A, ELDHistogram]> => {
  const delays = monitorEventLoopDelay({ resolution: 1 })
  delays.enable()
  // The first time is that between the first two timers. After a stall, the next timer is the one that sees it.
  await setTimeout(5)
  const result = await work()
  await setTimeout(5)
  delays.disable()
  return [result, delays]
}
