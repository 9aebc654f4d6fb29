/** A clock that statements move, and what can be seen of statements. */
import { Clock, Effect, Stream } from "effect"
import type { ConnectionPool, PoolEvent } from "effect-connection-pool"
import type { TestClock } from "effect/testing"
import { settle } from "./pools.ts"

/** The clock of the test, with the time that synchronous work has taken besides. */
export class WorkClock implements Clock.Clock {
  readonly #clock: Clock.Clock
  #workedMillis = 0
  /** How often the time was read. */
  reads = 0

  constructor(clock: Clock.Clock) {
    this.#clock = clock
  }

  /** Lets time pass in the present step. */
  readonly work = (millis: number): number => {
    this.#workedMillis += millis
    return millis
  }

  currentTimeMillisUnsafe(): number {
    return this.#clock.currentTimeMillisUnsafe() + this.#workedMillis
  }

  currentTimeNanosUnsafe(): bigint {
    return this.#clock.currentTimeNanosUnsafe() + BigInt(Math.round(this.#workedMillis * 1e6))
  }

  monotonicTimeNanosUnsafe(): bigint {
    this.reads++
    return this.#clock.monotonicTimeNanosUnsafe() + BigInt(Math.round(this.#workedMillis * 1e6))
  }

  readonly currentTimeMillis = Effect.sync(() => this.currentTimeMillisUnsafe())
  readonly currentTimeNanos = Effect.sync(() => this.currentTimeNanosUnsafe())
  readonly monotonicTimeNanos = Effect.sync(() => this.monotonicTimeNanosUnsafe())
  readonly sleep: Clock.Clock["sleep"] = (duration) => this.#clock.sleep(duration)
  /** For `TestClock.adjust`. */
  readonly adjust: TestClock.TestClock["adjust"] = (duration) => (this.#clock as TestClock.TestClock).adjust(duration)
}

/** Runs an effect on a clock that synchronous work can move. */
export const onWorkClock = <A, E, R>(f: (clock: WorkClock) => Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const clock = new WorkClock(yield* Effect.service(Clock.Clock))
    return yield* Effect.provideService(f(clock), Clock.Clock, clock)
  })

export type Slow = Extract<PoolEvent.PoolEvent, { readonly _tag: "StatementSlow" }>

/** The `StatementSlow` events from now on. Read them after the effect that is returned. */
export const slowOf = <C, E>(pool: Pick<ConnectionPool.ConnectionPool<C, E>, "events">) =>
  Effect.gen(function*() {
    const events: Array<Slow> = []
    yield* Effect.forkScoped(
      Stream.runForEach(pool.events, (event) =>
        Effect.sync(() => {
          if (event._tag === "StatementSlow") events.push(event)
        })),
      { startImmediately: true }
    )
    return Effect.as(settle, events)
  })
