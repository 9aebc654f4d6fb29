/** What the main job does on every database: customers, what became of their transfers, and how that is shown. */
import { SingleBar } from "cli-progress"
import Table from "cli-table3"
import { Cause, Clock, Console, Deferred, Effect, Exit, Fiber, Random, Schedule } from "effect"

export const accounts = 100
export const balance = 1000

/** What became of the transfers, and how long each that got a connection waited for it. */
export class Tally {
  committed = 0
  declined = 0
  interrupted = 0
  timedOut = 0
  /** Nobody knows whether they are stored: the answer to the commit was lost. */
  unknown = 0
  failed = 0
  readonly waits: Array<number> = []

  get finished(): number {
    return this.committed + this.declined + this.interrupted + this.timedOut + this.unknown + this.failed
  }
}

/** One transfer, as a customer asks for it. */
export interface Order {
  readonly id: string
  readonly payer: number
  readonly payee: number
  readonly amount: number
  /** How long it may wait for a connection. `undefined`: as long as the pool allows. */
  readonly timeout: "2 millis" | undefined
  /** Is told when the order has its connection. */
  readonly begun: Effect.Effect<void>
}

/** Carries an order out, all of it or nothing. */
export type Transfer<E> = (order: Order) => Effect.Effect<"committed" | "declined", E>

/** One customer makes one transfer after the other. Every tenth is in a hurry, every tenth changes its mind. */
const customer = <E extends { readonly _tag: string }>(
  name: number,
  transfers: number,
  transfer: Transfer<E>,
  tally: Tally,
  ended: (id: string, outcome: "committed" | "declined" | "open" | "failed") => void
) =>
  Effect.gen(function*() {
    for (let count = 0; count < transfers; count++) {
      const id = `${name}-${count}`
      const mood = yield* Random.nextIntBetween(0, 10)
      const payer = yield* Random.nextIntBetween(1, accounts + 1)
      const payee = 1 + (payer + (yield* Random.nextIntBetween(0, accounts - 1))) % accounts
      const amount = yield* Random.nextIntBetween(1, 50)
      const begun = yield* Deferred.make<void>()
      const asked = yield* Clock.monotonicTimeNanos
      const attempt = transfer({
        id,
        payer,
        payee,
        amount,
        timeout: mood === 0 ? "2 millis" : undefined,
        begun: Effect.map(Clock.monotonicTimeNanos, (now) => {
          // Not again when the transaction runs again.
          if (Deferred.doneUnsafe(begun, Effect.void)) tally.waits.push(Number(now - asked) / 1e6)
        })
      })
      const fiber = yield* Effect.forkChild(attempt)
      if (mood === 1) {
        // In line, or somewhere in the transaction.
        if (yield* Random.nextBoolean) yield* Effect.raceFirst(Deferred.await(begun), Effect.exit(Fiber.await(fiber)))
        yield* Effect.repeat(Effect.yieldNow, { times: yield* Random.nextIntBetween(0, 3) })
        yield* Fiber.interrupt(fiber)
      }
      const exit = yield* Fiber.await(fiber)
      if (Exit.isSuccess(exit)) {
        tally[exit.value]++
        ended(id, exit.value)
      } else if (Cause.hasInterruptsOnly(exit.cause)) {
        tally.interrupted++
        ended(id, "open")
      } else if (isOf("AcquireTimeoutError", exit.cause) && mood === 0) {
        tally.timedOut++
        ended(id, "failed")
      } else if (isOf("TransactionOutcomeUnknownError", exit.cause)) {
        tally.unknown++
        ended(id, "open")
      } else {
        tally.failed++
        ended(id, "failed")
        yield* Console.error(Cause.pretty(exit.cause))
      }
    }
  })

const isOf = (tag: string, cause: Cause.Cause<{ readonly _tag: string }>): boolean =>
  cause.reasons.some((reason) => Cause.isFailReason(reason) && reason.error._tag === tag)

export interface Rush<E> {
  readonly fibers: number
  readonly transfers: number
  readonly transfer: Transfer<E>
  readonly tally: Tally
  /** The numbers of the pool, for the bar. */
  readonly stats: Effect.Effect<{ readonly inUse: number; readonly waiting: number }>
  /** Is told what became of each order. `"open"`: it was interrupted, or nobody knows. */
  readonly ended?: (id: string, outcome: "committed" | "declined" | "open" | "failed") => void
}

/** All customers at once, with a bar. Returns the transfers per second. */
export const rush = <E extends { readonly _tag: string }>(
  { ended = () => {}, fibers, stats, tally, transfer, transfers }: Rush<E>
): Effect.Effect<number> =>
  Effect.gen(function*() {
    const bar = new SingleBar({
      format: "{bar} {percentage}% | {value}/{total} transfers | {rate}/s | {inUse} in use, {waiting} in line",
      barCompleteChar: "█",
      barIncompleteChar: "░",
      // The numbers matter more than the bar.
      barsize: Math.max(10, Math.min(40, (process.stderr.columns ?? 110) - 70)),
      noTTYOutput: false
    })
    const begun = yield* Clock.monotonicTimeNanos
    const rate = (now: bigint) => Math.round(tally.finished / (Number(now - begun) / 1e9))
    const show = (now: bigint) =>
      Effect.map(stats, ({ inUse, waiting }) => bar.update(tally.finished, { rate: rate(now), inUse, waiting }))
    bar.start(transfers, 0, { rate: 0, inUse: 0, waiting: 0 })
    const drawing = yield* Effect.forkChild(
      Effect.repeat(Effect.flatMap(Clock.monotonicTimeNanos, show), Schedule.spaced("50 millis"))
    )
    const share = Math.ceil(transfers / fibers)
    yield* Effect.forEach(
      Array.from({ length: fibers }, (_, fiber) => Math.max(0, Math.min(share, transfers - fiber * share))),
      (count, name) => customer(name, count, transfer, tally, ended),
      { concurrency: "unbounded", discard: true }
    )
    const over = yield* Clock.monotonicTimeNanos
    yield* Fiber.interrupt(drawing)
    yield* show(over)
    bar.stop()
    return rate(over)
  })

const percentile = (sorted: ReadonlyArray<number>, share: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0

const millis = (value: number) => `${value.toFixed(2)} ms`

export type Lines = ReadonlyArray<readonly [string, string | number]>

/** The lines of the table about the transfers, in which `more` stands before the failures. */
export const linesOf = (tally: Tally, rate: number, more: Lines): Lines => {
  const waits = tally.waits.toSorted((a, b) => a - b)
  return [
    ["throughput", `${rate} transfers/s`],
    ["transfers committed", tally.committed],
    ["  declined, the payer being poor", tally.declined],
    ["  interrupted on purpose", tally.interrupted],
    ["  timed out on purpose", tally.timedOut],
    ...more,
    ["  failed", tally.failed],
    ["wait for a connection, p50", millis(percentile(waits, 0.5))],
    ["wait for a connection, p99", millis(percentile(waits, 0.99))]
  ]
}

/** Without colours, so that it reads the same everywhere; and without a frame where that is wider than the terminal. */
export const tableOf = (heading: string, rows: Lines): string => {
  const table = new Table({
    head: [heading, ""],
    colAligns: ["left", "right"],
    style: { compact: true, head: [], border: [] }
  })
  table.push(...rows.map((row) => [...row]))
  return table.width <= (process.stdout.columns ?? Infinity)
    ? table.toString()
    : [heading, ...rows.map(([name, value]) => `${name}: ${value}`)].join("\n")
}

/** Prints each claim with what the audit found. Fails if one does not hold. */
export const judge = (verdict: Readonly<Record<string, boolean>>): Effect.Effect<void, Error> =>
  Effect.gen(function*() {
    for (const [claim, holds] of Object.entries(verdict)) yield* Console.log(`${holds ? "✓" : "✗"} ${claim}`)
    if (!Object.values(verdict).every((holds) => holds)) {
      return yield* Effect.fail(new Error("the verdict is not true"))
    }
  })
