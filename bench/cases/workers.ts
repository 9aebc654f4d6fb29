/** Reads in threads, beside reads in process: what they cost, and what they leave to the event loop. */
import { Effect, Fiber } from "effect"
import assert from "node:assert/strict"
import { setTimeout } from "node:timers/promises"
import { itemCount, keyOf, scanned, sumOf } from "../contenders/sqlite/database.ts"
import type { Fetcher, Scanner, StuckReader, WorkerContenders } from "../contenders/sqlite/workers.ts"
import { type Case, type Round, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { wallClock } from "../harness/watch.ts"
import { pointReads } from "../workloads/pointReads.ts"
import { mixed, scans, scansIn, watchLoop } from "../workloads/scans.ts"
import { readAll } from "./pointReads.ts"
import { sqliteContestant } from "./sqliteContestant.ts"

export const workerCases = (who: WorkerContenders, effort: Effort): ReadonlyArray<Case> => {
  const users = effort.isShort ? 10 : 100
  const mixedEach = effort.isShort ? 2 : 8
  const heavyEach = effort.isShort ? 1 : 5
  const byKey = effort.scale(5000)
  return [
    {
      name: "workers-mixed",
      title: `${users} users, 19 reads by key for each scan of about 20 ms`,
      unit: "us",
      reference: "ours: all in process",
      ...effort.rounds(6, 2, 2),
      contestants: who.scanners.map((contender) =>
        sqliteContestant(contender, {
          expected: served(users * mixedEach),
          round: (scanner) => mixedRound(scanner, users, mixedEach)
        })
      )
    },
    {
      name: "workers-heavy",
      title: "8 users who only scan, each time for about 20 ms",
      unit: "us per scan",
      reference: "ours: in process",
      ...effort.rounds(6, 2, 2),
      contestants: who.heavy.map((contender) =>
        sqliteContestant(contender, {
          expected: served(8 * heavyEach),
          round: (scanner) => heavyRound(scanner, 8, heavyEach)
        })
      )
    },
    {
      name: "workers-point",
      title: "reads by key, by 1 user and by 100",
      unit: "ns per read",
      reference: "ours: sql, in process",
      ...effort.rounds(10, 8),
      contestants: who.readers.flatMap((contender) =>
        [1, 100].map((users) =>
          sqliteContestant(contender, {
            load: String(users),
            expected: served(Math.ceil(byKey / 100) * 100),
            round: (reader) => readAll(reader, users, Math.ceil(byKey / 100) * 100 / users)
          })
        )
      )
    },
    {
      name: "workers-rows",
      title: `${itemCount} rows of 5 columns`,
      unit: "us",
      reference: "ours: sql, in process",
      ...effort.rounds(10, 5),
      contestants: who.fetchers.map((contender) =>
        sqliteContestant(contender, { expected: served(itemCount), round: rowsRound })
      )
    },
    {
      name: "workers-stuck",
      title: "100 users read by key in process, without and with 50 queries on workers that were interrupted",
      unit: "us per read",
      reference: "ours: 1 worker",
      ...effort.rounds(3, 1, 1),
      contestants: who.stuck.map((contender) =>
        sqliteContestant(contender, {
          expected: served(2 * 100 * stuckEach(effort)),
          round: (reader) => stuckRound(reader, stuckEach(effort))
        })
      )
    }
  ]
}

const micros = (millis: number): number => millis * 1000

const mixedRound = async (scanner: Scanner, users: number, each: number): Promise<Round> => {
  const alone = wallClock()
  alone.start()
  assert.equal(await Effect.runPromise(scanner.scan), scanned)
  alone.stop()
  const watch = wallClock()
  const [{ readMillis, scanned: found, sum }, delays] = await watchLoop(async () => {
    watch.start()
    const all = await mixed(scanner, users, each)
    watch.stop()
    return all
  })
  const turns = Array.from({ length: users * each }, (_, turn) => turn)
  const reads = turns.filter((turn) => !scansIn(turn))
  assert.equal(sum, reads.reduce((sum, turn) => sum + keyOf(turn) * 2, 0), "something else was read")
  assert.equal(found, scanned * (turns.length - reads.length), "something else was scanned")
  return {
    cost: {
      "per operation": watch.nanos() / 1000 / turns.length,
      "event loop, p99": delays.percentile(99) / 1000,
      "event loop, longest": delays.max / 1000,
      "read by key, p99": micros(readMillis),
      "a scan alone": alone.nanos() / 1000
    },
    counts: served(turns.length)
  }
}

const heavyRound = async (scanner: Scanner, users: number, each: number): Promise<Round> => {
  const watch = wallClock()
  watch.start()
  const found = await scans(scanner, users, each)
  watch.stop()
  assert.equal(found, users * each * scanned, "something else was scanned")
  return { cost: watch.nanos() / 1000 / (users * each), counts: served(users * each) }
}

const rowsRound = async ({ fetch }: Fetcher): Promise<Round> => {
  const watch = wallClock()
  const [rows, delays] = await watchLoop(async () => {
    watch.start()
    const rows = await Effect.runPromise(fetch)
    watch.stop()
    return rows
  })
  return { cost: { "all": watch.nanos() / 1000, "longest stall": delays.max / 1000 }, counts: served(rows.length) }
}

const stuckEach = ({ isShort }: Effort): number => isShort ? 5 : 200

/** How long those who wait for a query do so before they leave. */
const leaveAfterMillis = 200

const stuckRound = async (reader: StuckReader, each: number): Promise<Round> => {
  const perRead = async (): Promise<number> => {
    const watch = wallClock()
    watch.start()
    assert.equal(await pointReads(reader, 100, each), sumOf(100 * each), "something else was read")
    watch.stop()
    return watch.nanos() / 1000 / (100 * each)
  }
  const undisturbed = await perRead()
  const { abandoned } = reader
  const leave = wallClock()
  // On a busy machine, a thread may not have begun after that time. Then nobody has left anything behind.
  while (await Effect.runPromise(abandoned) === 0) {
    const callers = Array.from({ length: 50 }, () => Effect.runFork(reader.query))
    await setTimeout(leaveAfterMillis)
    leave.start()
    await Effect.runPromise(Fiber.interruptAll(callers))
    leave.stop()
  }
  const beside = await perRead()
  const left = await Effect.runPromise(abandoned)
  assert.ok(left > 0, "the queries have ended before the reads")
  while (await Effect.runPromise(abandoned) > 0) await setTimeout(20)
  return {
    cost: { "undisturbed": undisturbed, "beside them": beside, "to be free": leave.nanos() / 1000, "abandoned": left },
    counts: served(2 * 100 * each)
  }
}
