/**
 * Runs the body of a transaction: gives it its span and its context, ends it in the database, and runs what waits for its
 * commit.
 *
 * It does what `makeWithTransaction` of `effect/sql` does, which takes about fifty steps of the fiber. Here the beginning is
 * one step, and the end is part of the last step of the body, if the database answers at once. Spans, their events, and all
 * that the body sees are the same. Siblings inside a transaction take turns too, but by `Turn`.
 */
import { Cause, Clock, Context, Effect, Exit, type Fiber, References, Scope, Tracer } from "effect"
import { Reactivity } from "effect/reactivity/Reactivity"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { PoolError } from "../../PoolError.ts"
import type { TransactionError } from "../../TransactionError.ts"
import {
  Attached,
  charge,
  currentTransactionService,
  isSuccess,
  maskWithin,
  matchWithin,
  observe,
  OwnStep,
  postponeInterrupt,
  restoreWithin,
  spanMaker
} from "../runtime.ts"
import type { Level } from "./level.ts"
import type { TransactionSettings } from "./options.ts"
import { outcomeOf } from "./outcome.ts"
import { Run } from "./run.ts"

/** The functions that begin and end a run in the database. Each is done in the present step if the database answers there. */
export interface Control<C, Isolation extends string, E> {
  /** Begins a transaction or a savepoint, and sets the level and the connection of the run. */
  readonly begin: (run: Run<C, Isolation, E>) => Effect.Effect<void, SqlError>
  /** Ends the level of a run whose body has succeeded, so that its work counts. */
  readonly conclude: (run: Run<C, Isolation, E>) => Effect.Effect<void, SqlError>
  /** Ends the level of a run whose body has failed, and undoes its work. */
  readonly undo: (run: Run<C, Isolation, E>) => Effect.Effect<void>
  /** The fiber of the run has ended without its finalizers. */
  readonly dropped: (run: Run<C, Isolation, E>) => void
}

/** Turns a failure of the transaction itself into the one that the caller gets. */
export type Present<E, X> = (failure: TransactionError | PoolError<E>) => X

type TransactionService = SqlClient["transactionService"]

/** About as many operations as the machinery of `effect/sql` takes, so that other fibers get their turn as often. */
const operations = 40

export class Machinery<C, Isolation extends string, E> {
  readonly #service: TransactionService
  readonly #attributes: ReadonlyArray<readonly [string, unknown]>
  readonly #control: Control<C, Isolation, E>
  readonly #makeSpan = spanMaker(spanName, spanOptions)
  /** The levels, by the value of the transaction service at each level: code that hides the service hides the level. */
  readonly #levels = new Attached<Level<C>>()
  readonly #withoutTransaction: <R>(context: Context.Context<R>) => Context.Context<R>
  /** The last `Reactivity`, and its copy for transactions. */
  #reactivity: Reactivity | undefined = undefined
  #deferring: Reactivity | undefined = undefined

  constructor(
    service: TransactionService,
    attributes: ReadonlyArray<readonly [string, unknown]>,
    control: Control<C, Isolation, E>
  ) {
    this.#service = service
    this.#attributes = attributes
    this.#control = control
    this.#withoutTransaction = Context.omit(service) as <R>(context: Context.Context<R>) => Context.Context<R>
  }

  /** The level that belongs to a value of the transaction service, if this machinery has begun it. */
  levelOf(held: object): Level<C> | undefined {
    return this.#levels.get(held)
  }

  /** Runs an effect as a transaction, or as a savepoint in the level `outer`. */
  run<A, X, R, X2>(
    body: Effect.Effect<A, X, R>,
    settings: TransactionSettings<Isolation>,
    outer: Level<C> | undefined,
    present: Present<E, X2>
  ): OwnStep<A, X | X2, R> {
    return new Transact(this, body, settings, outer, present)
  }

  /** Runs an effect once the outermost transaction is committed; at once if there is none. See `SqlClient.afterCommit`. */
  readonly afterCommit: SqlClient["afterCommit"] = (effect) =>
    Effect.withFiber((fiber) => {
      const held = Context.getOrUndefined(fiber.context, this.#service)
      const level = held && this.#levels.get(held)
      if (level === undefined) return told(effect)
      for (let at: Level<C> | undefined = level; at !== undefined; at = at.outer) {
        if (!at.isTaking) return Effect.die(new Error("SqlClient.afterCommit: the transaction has already ended"))
      }
      level.callbacks ??= []
      level.callbacks.push(Effect.provideContext(
        effect as Effect.Effect<void>,
        this.#withoutTransaction(fiber.context)
      ))
      return Effect.void
    })

  /** Begins a run in the present step of its fiber. */
  start<A, X, R>(run: Run<C, Isolation, E>, body: Effect.Effect<A, X, R>): Effect.Effect<A, X | SqlError, R> {
    charge(run.fiber, operations)
    const span = this.#makeSpan(run.fiber)
    return span === undefined
      ? Effect.flatMap(Effect.makeSpan(spanName, spanOptions), (span) => this.#begin(run, body, span))
      : this.#begin(run, body, span)
  }

  #begin<A, X, R>(
    run: Run<C, Isolation, E>,
    body: Effect.Effect<A, X, R>,
    span: Tracer.Span
  ): Effect.Effect<A, X | SqlError, R> {
    run.span = span
    run.forget = observe(run.fiber, () => this.#control.dropped(run))
    for (const [key, value] of this.#attributes) span.attribute(key, value)
    const begun = this.#control.begin(run)
    return isSuccess(begun) ? this.#enter(run, body, span) : Effect.flatMap(begun, () => this.#enter(run, body, span))
  }

  #enter<A, X, R>(
    run: Run<C, Isolation, E>,
    body: Effect.Effect<A, X, R>,
    span: Tracer.Span
  ): Effect.Effect<A, X, R> {
    const { connection, fiber, level } = run
    const held = [connection!, level!.depth] as const
    this.#levels.set(held, level!)
    let context = Context.add(run.context, this.#service, held)
    context = Context.add(context, currentTransactionService, this.#service)
    const reactivity = Context.getOrUndefined(context, Reactivity)
    if (reactivity !== undefined) context = Context.add(context, Reactivity, this.#deferringFor(reactivity))
    fiber.setContext(Context.add(context, Tracer.ParentSpan, span))
    run.isInBody = true
    return restoreWithin(run.restore, body, fiber)
  }

  /** A copy of a `Reactivity` whose invalidations wait for the commit of the transaction that the fiber is in. */
  #deferringFor(reactivity: Reactivity): Reactivity {
    if (reactivity === this.#deferring) return reactivity
    if (reactivity !== this.#reactivity) {
      const invalidate: Reactivity["invalidate"] = (keys) =>
        this.afterCommit(Effect.sync(() => reactivity.invalidateUnsafe(keys)))
      this.#deferring = { ...reactivity, invalidate, mutation: (keys, effect) => Effect.tap(effect, invalidate(keys)) }
      this.#reactivity = reactivity
    }
    return this.#deferring!
  }

  /** Ends a run whose body, or whose beginning, has ended with `given`. Nothing can interrupt the fiber here. */
  end<A, X, X2>(
    run: Run<C, Isolation, E>,
    given: Exit.Exit<A, X | SqlError>,
    present: Present<E, X2>
  ): Effect.Effect<A, X | X2> {
    if (!run.isInBody) return this.#release(run, given, false, present)
    run.isInBody = false
    run.fiber.setContext(run.context)
    const exit = this.#note(run, given)
    const isGood = isSuccess(exit)
    run.wasToCommit = isGood && run.outer === undefined
    const ended = isGood ? this.#control.conclude(run) : this.#control.undo(run)
    if (isSuccess(ended)) return this.#release(run, exit, isGood, present)
    return Effect.matchCauseEffect(ended, {
      onFailure: (cause) => this.#release(run, failing(exit, cause), false, present),
      onSuccess: () => this.#release(run, exit, isGood, present)
    })
  }

  /** Adds an event to the span. If that fails, the run fails. */
  #note<A, X>({ clock, outer, span }: Run<C, Isolation, E>, exit: Exit.Exit<A, X>): Exit.Exit<A, X> {
    const event = exit._tag === "Failure" ? "rollback" : outer === undefined ? "commit" : "savepoint"
    try {
      span!.event(`effect.sql.transaction.${event}`, clock.currentTimeNanosUnsafe())
      return exit
    } catch (thrown) {
      return failing(exit, Cause.die(thrown))
    }
  }

  #release<A, X, X2>(
    run: Run<C, Isolation, E>,
    exit: Exit.Exit<A, X | SqlError>,
    isDone: boolean,
    present: Present<E, X2>
  ): Effect.Effect<A, X | X2> {
    run.lease?.end(exit)
    const released = run.scope && Scope.closeUnsafe(run.scope, exit)
    if (released === undefined) return this.#settle(run, exit, isDone, present)
    return Effect.matchCauseEffect(released, {
      onFailure: (cause) => this.#settle(run, failing(exit, cause), isDone, present),
      onSuccess: () => this.#settle(run, exit, isDone, present)
    })
  }

  /** Runs what has waited for the commit. The work of a savepoint waits for the commit of the transaction around it. */
  #settle<A, X, X2>(
    run: Run<C, Isolation, E>,
    exit: Exit.Exit<A, X | SqlError>,
    isDone: boolean,
    present: Present<E, X2>
  ): Effect.Effect<A, X | X2> {
    const { level } = run
    if (level === undefined) return this.#finish(run, exit, present)
    level.isTaking = false
    const { callbacks, outer } = level
    if (!isDone || callbacks === undefined) return this.#finish(run, exit, present)
    if (outer === undefined) {
      return Effect.flatMap(
        Effect.forEach(callbacks, told, { discard: true }),
        () => this.#finish(run, exit, present)
      )
    }
    outer.callbacks ??= []
    outer.callbacks.push(...callbacks)
    return this.#finish(run, exit, present)
  }

  #finish<A, X, X2>(
    run: Run<C, Isolation, E>,
    given: Exit.Exit<A, X | SqlError>,
    present: Present<E, X2>
  ): Exit.Exit<A, X | X2> {
    let exit = given
    try {
      run.endSpan(given)
    } catch (thrown) {
      exit = failing(given, Cause.die(thrown))
    }
    run.forget?.()
    const outcome = outcomeOf(run, exit, present)
    // An interrupt came too late for a commit, and would hide how it ended.
    if (run.wasToCommit) postponeInterrupt(run.fiber, run.restore)
    return outcome
  }
}

const spanName = "sql.transaction"
const spanOptions = { kind: "internal" } as const

/** The exit of something that has ended with `exit`, and in whose end something else has failed. */
const failing = <A, E>(exit: Exit.Exit<A, E>, cause: Cause.Cause<E>): Exit.Exit<never, E> =>
  Exit.failCause(exit._tag === "Success" ? cause : Cause.combine(exit.cause, cause))

/** Runs something that has waited for a commit. If it dies, that is logged. */
const told = <R>(effect: Effect.Effect<void, never, R>): Effect.Effect<void, never, R> =>
  Effect.ignoreCause(effect, { log: "Unhandled", message: "Unhandled error in SqlClient.afterCommit callback" })

/** One transaction or savepoint. Each time it is evaluated, it is a new run. */
class Transact<C, Isolation extends string, E, A, X, R, X2> extends OwnStep<A, X | X2, R> {
  readonly #machinery: Machinery<C, Isolation, E>
  readonly #body: Effect.Effect<A, X, R>
  readonly #settings: TransactionSettings<Isolation>
  readonly #outer: Level<C> | undefined
  readonly #present: Present<E, X2>

  constructor(
    machinery: Machinery<C, Isolation, E>,
    body: Effect.Effect<A, X, R>,
    settings: TransactionSettings<Isolation>,
    outer: Level<C> | undefined,
    present: Present<E, X2>
  ) {
    super()
    this.#machinery = machinery
    this.#body = body
    this.#settings = settings
    this.#outer = outer
    this.#present = present
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, X | X2, R> {
    return maskWithin(fiber, (restore) => {
      const machinery = this.#machinery
      const present = this.#present
      const run = new Run<C, Isolation, E>(
        fiber,
        restore,
        this.#settings,
        this.#outer,
        fiber.getRef(Clock.Clock),
        fiber.getRef(References.TracerTimingEnabled)
      )
      return matchWithin(new Start(machinery, run, this.#body), fiber, {
        onFailure: (cause) => machinery.end(run, Exit.failCause(cause), present),
        onSuccess: (value) => machinery.end(run, Exit.succeed(value), present)
      })
    })
  }
}

/** The beginning of a run, which goes on with its body. */
class Start<C, Isolation extends string, E, A, X, R> extends OwnStep<A, X | SqlError, R> {
  readonly #machinery: Machinery<C, Isolation, E>
  readonly #run: Run<C, Isolation, E>
  readonly #body: Effect.Effect<A, X, R>

  constructor(machinery: Machinery<C, Isolation, E>, run: Run<C, Isolation, E>, body: Effect.Effect<A, X, R>) {
    super()
    this.#machinery = machinery
    this.#run = run
    this.#body = body
  }

  step(): Effect.Effect<A, X | SqlError, R> {
    return this.#machinery.start(this.#run, this.#body)
  }
}
