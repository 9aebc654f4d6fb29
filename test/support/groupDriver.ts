/** A pool whose callers may be served in groups, by a driver that the test controls. */
import { Clock, Effect, Exit, Fiber, Latch, Stream } from "effect"
import { PoolEvent } from "effect-connection-pool"
import * as Door from "../../src/internal/pool/door.ts"
import type { Driver, Member, Outcome } from "../../src/internal/pool/groups.ts"
import { type Connection, make as makePool, settle } from "./pools.ts"

/** The work of one caller. Its answer is its name, unless `f` says otherwise. */
export interface Work extends Member<Connection> {
  readonly name: string
  readonly f: () => unknown
}

export const make = Effect.fnUntraced(function*(config?: Parameters<typeof makePool>[0]) {
  // The clock of the test, and what synchronous work adds to it.
  const clock = yield* Clock.Clock
  let added = 0
  const nanos = () => clock.monotonicTimeNanosUnsafe() + BigInt(added * 1e6)
  const withWork: Clock.Clock = {
    currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
    currentTimeMillis: clock.currentTimeMillis,
    currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
    currentTimeNanos: clock.currentTimeNanos,
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) => clock.sleep(duration)
  }
  const { faulty, pool } = yield* Effect.provideService(makePool({ min: 1, max: 1, ...config }), Clock.Clock, withWork)
  yield* settle

  const events: Array<PoolEvent.PoolEvent> = []
  const script = {
    /** How long the work of one caller takes, and how long the end of a group takes. */
    workMillis: 0,
    endMillis: 0,
    /** The outcome of the next group before any work has run, if there is one. */
    refusal: undefined as Outcome | undefined,
    /** The outcome of the next group after the work has run, if it is not `done`. */
    outcome: undefined as Outcome | undefined,
    mayRetry: (_: Exit.Exit<unknown, unknown>): boolean => false,
    retry: (attempt: Effect.Effect<unknown, unknown>): Effect.Effect<unknown, unknown> => attempt
  }
  /** What ran alone, as a name, and what ran together, as a list. */
  const ran: Array<string | ReadonlyArray<string>> = []
  /** The names of those who were told that they may have to wait. */
  const waited: Array<string> = []

  const exitOf = ({ f }: Work): Exit.Exit<unknown, unknown> => {
    try {
      return Exit.succeed(f())
    } catch (thrown) {
      return Exit.fail(thrown)
    }
  }

  const driver: Driver<Connection, Work> = {
    failure: (thrown) => thrown,
    together: (_, first, others) => {
      const { refusal } = script
      let { outcome } = script
      script.outcome = undefined
      script.refusal = undefined
      if (refusal !== undefined) {
        ran.push([refusal._tag, first.name])
        return refusal
      }
      const names: Array<string> = []
      const answers: Array<Exit.Exit<unknown, unknown>> = []
      for (let work: Work | undefined = first; work !== undefined; work = others.next()) {
        names.push(work.name)
        answers.push(exitOf(work))
        added += script.workMillis
      }
      if (!others.areWaiting) outcome = { _tag: "undone", why: "a caller has left" }
      ran.push(outcome === undefined ? names : [outcome._tag, ...names])
      added += script.endMillis
      return outcome ?? { _tag: "done", answers }
    },
    mayRetry: (answer) => script.mayRetry(answer),
    retry: (attempt) => script.retry(attempt)
  }

  const group = () => {
    const made = Door.of(pool)!.group(driver)
    return (name: string, f: () => unknown = () => name, options?: { readonly timeout: number }) => {
      const work: Work = {
        name,
        f,
        alone: () => {
          ran.push(name)
          added += script.workMillis
          return f()
        },
        waits: () => waited.push(name)
      }
      return Effect.withFiber((fiber) => made.use<unknown, unknown>(work, fiber, options))
    }
  }
  const write = group()

  /** Lets all join the line behind a lease, then ends the lease. Gives how each has ended, in order. */
  const line = (effects: ReadonlyArray<Effect.Effect<unknown, unknown>>) =>
    Effect.gen(function*() {
      const gate = yield* Latch.make()
      const holder = yield* fork(pool.use(() => gate.await))
      const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
      for (const effect of effects) fibers.push(yield* fork(effect))
      yield* gate.open
      yield* Fiber.join(holder)
      return yield* Effect.forEach(fibers, Fiber.await)
    })

  return {
    faulty,
    pool,
    script,
    ran,
    waited,
    /** Makes another group of the pool. */
    group,
    /** The work of a caller of the first group. */
    write,
    /** Lets the callers of the first group know that they are several, so that the next one waits for others. */
    getCompany: Effect.gen(function*() {
      yield* line([write("company 1"), write("company 2")])
      yield* settle
      ran.splice(0)
      waited.splice(0)
      events.splice(0)
    }),
    /** Begins to record events. */
    watch: Effect.andThen(
      Effect.forkScoped(Stream.runForEach(pool.events, (event) => Effect.sync(() => events.push(event))), {
        startImmediately: true
      }),
      settle
    ),
    /** The recorded events of one kind. */
    events: <Tag extends PoolEvent.PoolEvent["_tag"]>(tag: Tag) =>
      Effect.as(settle, events).pipe(Effect.map((all) => all.filter(PoolEvent.$is(tag)))),
    line
  }
})

export const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })
