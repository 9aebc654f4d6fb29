/**
 * Groups: callers whose synchronous work may run together, under one lease.
 *
 * A caller of a group stands in the line of the pool like every other caller. A caller that is granted a connection leads
 * the group. It takes along the callers directly behind it in line, and the driver runs the work of all as one. Until that
 * work is done, these callers stay in line, with their deadlines. Then each caller is answered and counted as if it had
 * had a lease of its own.
 */
import { Effect, type Exit, type Fiber } from "effect"
import type { AcquireOptions } from "../../PoolConfig.ts"
import type { PoolError } from "../../PoolError.ts"
import * as Calls from "../options/call.ts"
import type { CallSettings } from "../options/settings.ts"
import * as Runtime from "../runtime.ts"
import * as Body from "./body.ts"
import { type Callers, LeaseEffect, secured } from "./callers.ts"
import { cannotWait, type Gathering } from "./gathering.ts"
import * as GroupNumbers from "./groupNumbers.ts"
import { reasonToLeave } from "./reasons.ts"
import * as Sharing from "./sharing.ts"
import type * as State from "./state.ts"
import type { Work } from "./work.ts"

/** The work of one caller. */
export interface Member<C> {
  /** Runs the work alone, under a lease of its own. */
  readonly alone: (connection: C) => unknown
  /** Called when the caller may have to wait, in the step in which it asks. */
  waits(): void
}

/** The callers behind the leader. */
export interface Others<M> {
  /** The work of the next caller. Returns `undefined` if the group ends here. */
  readonly next: () => M | undefined
  /** Whether all callers whose work `next` has returned still wait. */
  readonly areWaiting: boolean
}

/** How a group has ended. */
export type Outcome =
  /** All work is done. The answers are in the order of the callers, and the leader is first. */
  | { readonly _tag: "done"; readonly answers: ReadonlyArray<Exit.Exit<unknown, unknown>> }
  /** All work is undone, and every caller has to run alone. */
  | { readonly _tag: "undone"; readonly why: string }
  /** Nothing was done, and the leader runs alone. With `isLasting`, the next groups would end like this too. */
  | { readonly _tag: "unshared"; readonly isLasting: boolean }
  /** The group could not be undone. Only the leader gets this answer. */
  | { readonly _tag: "failed"; readonly answer: Exit.Exit<unknown, unknown> }

/** The part of a driver that runs the work of several callers as one. */
export interface Driver<C, M extends Member<C>> {
  /** Makes the failure that a caller gets when its work throws. If this function throws, that is a defect. */
  readonly failure: (thrown: unknown) => unknown
  /** Runs the work of several callers together. Never throws. Stores nothing unless the outcome is `done`. */
  readonly together: (connection: C, first: M, others: Others<M>) => Outcome
  /** Whether another attempt may succeed after this answer. */
  readonly mayRetry: (answer: Exit.Exit<unknown, unknown>) => boolean
  /** Runs further attempts. It decides how often, and when. */
  readonly retry: (attempt: Effect.Effect<unknown, unknown>) => Effect.Effect<unknown, unknown>
}

/** The maximum number of callers in one group. */
const mostMembers = 500
/**
 * A group takes no further caller after this time, or after the time that it took to end the last group, if that is
 * longer: the event loop has to wait that long for the end in any case.
 */
const longestMillis = 1

export class Group<C, E, M extends Member<C>> {
  readonly #callers: Callers<C, E>
  readonly #work: Work<C>
  readonly #driver: Driver<C, M>
  readonly #gathering: Gathering
  /** How long the last group took to end after its work was done. */
  #endMillis = 0
  /** The number of next callers that run alone, because they were in a group that was undone. */
  #apart = 0

  constructor(callers: Callers<C, E>, work: Work<C>, driver: Driver<C, M>) {
    this.#callers = callers
    this.#work = work
    this.#driver = driver
    this.#gathering = work.gathering
  }

  /**
   * Runs the work of a caller. If a connection is idle and no other caller is likely to ask, it runs in the present step
   * of the fiber. The result is the same whether the work runs alone or in a group.
   */
  use<A, X>(
    member: M,
    fiber: Fiber.Fiber<unknown, unknown>,
    options: AcquireOptions | undefined
  ): Effect.Effect<A, X | PoolError<E>> {
    const isExpected = this.#work.state.idle.length > 0 && this.#gathering.expects(fiber.id)
    if (isExpected && !cannotWait(fiber, this.#callers.resolve(options))) return this.#later(member, options)
    const answer = this.#callers.runNow(fiber, member.alone, this.#driver.failure, options)
    return answer === undefined || this.#driver.mayRetry(answer)
      ? this.#later(member, options)
      : answer as Effect.Effect<A, X | PoolError<E>>
  }

  /** Asks in a step of its own, because the present step may be part of another step. */
  #later<A, X>(member: M, options: AcquireOptions | undefined): Effect.Effect<A, X | PoolError<E>> {
    return new GroupedUse(this.#callers, this, member, options) as Effect.Effect<unknown, unknown> as Effect.Effect<
      A,
      X | PoolError<E>
    >
  }

  /** Continues a caller of this group that has a connection. */
  lead(lease: GroupedLease<C, E, M>, connection: C): Effect.Effect<unknown, unknown> {
    const gathering = this.#gathering
    const isNew = lease.waiter === undefined
    const isExpected = gathering.hasRun || (isNew && gathering.hasCompany)
    // If the pool has become larger, another leader may wait already, with another connection.
    if (this.#apart > 0 || !isExpected || gathering.isWaiting || cannotWait(lease.fiber, lease.options)) {
      return this.#attempt(lease, connection)
    }
    return Effect.callback<unknown, unknown>((resume) => {
      gathering.wait(() => {
        if (this.#first() === undefined) gathering.wasAlone(lease.fiber.id)
        resume(Effect.suspend(() => this.#attempt(lease, connection)))
      })
      return Effect.sync(() => gathering.cancel())
    })
  }

  #attempt(lease: GroupedLease<C, E, M>, connection: C): Effect.Effect<unknown, unknown> {
    const answer = this.#run(lease, connection)
    return this.#driver.mayRetry(answer)
      ? this.#driver.retry(Effect.suspend(() => this.#run(lease, connection)))
      : answer
  }

  /** Runs the work of the leader and of the callers behind it, in one step. Returns the answer of the leader. */
  #run(lease: GroupedLease<C, E, M>, connection: C): Exit.Exit<unknown, unknown> {
    const { state } = this.#work
    const entry = lease.entry
    if (this.#apart > 0) this.#apart--
    else if (entry !== undefined && this.#first() !== undefined && mayBeShared(state, entry, this.#work.now())) {
      const answer = this.#together(lease, entry, connection)
      if (answer !== undefined) return answer
    }
    return Body.sync(connection, lease.member.alone, this.#driver.failure)
  }

  #together(
    lease: GroupedLease<C, E, M>,
    entry: State.Entry<C>,
    connection: C
  ): Exit.Exit<unknown, unknown> | undefined {
    const { state } = this.#work
    const beganAt = this.#work.now()
    const others = new Behind<C, E, M>(this, this.#work, entry, Math.max(longestMillis, this.#endMillis))
    const outcome = this.#driver.together(connection, lease.member, others)
    entry.member = undefined
    switch (outcome._tag) {
      case "failed":
        return outcome.answer
      case "unshared":
        if (outcome.isLasting) this.#gathering.leave()
        return undefined
      case "undone":
        this.#gathering.ran()
        this.#apart = others.taken.length
        this.#note(entry, others.taken.length + 1, beganAt, outcome.why)
        return undefined
      case "done": {
        const [own, ...answers] = outcome.answers
        if (answers.length > 0) this.#gathering.ran()
        const now = this.#work.now()
        this.#endMillis = now - others.ranUntil
        for (const [index, waiter] of others.taken.entries()) {
          const answer = answers[index]!
          ;(waiter.lease as GroupedLease<C, E, M>).answer = answer
          Sharing.serve(state, waiter, entry, beganAt, now, Body.failureIn(answer))
        }
        if (answers.length > 0) this.#note(entry, outcome.answers.length, beganAt, undefined)
        return own!
      }
    }
  }

  #note(entry: State.Entry<C>, size: number, beganAt: number, undoneBecause: string | undefined): void {
    const { state } = this.#work
    const tookMillis = state.isWatched ? this.#work.now() - beganAt : 0
    GroupNumbers.note(state, entry.id, { size, tookMillis, undoneBecause })
  }

  /** The caller at the head of the line, if it belongs to this group. */
  #first(): State.Waiter<C> | undefined {
    return this.member(this.#work.state.waiters.head)
  }

  /** The given caller in line, if it belongs to this group. */
  member(waiter: State.Waiter<C> | undefined): State.Waiter<C> | undefined {
    return waiter !== undefined && waiter.lease instanceof GroupedLease && waiter.lease.group === this
      ? waiter
      : undefined
  }
}

/** Whether the next waiter would get this connection. */
const mayBeShared = <C>(state: State.State<C>, entry: State.Entry<C>, now: number): boolean =>
  !state.paused && reasonToLeave(state, entry, now) === undefined

/** The callers directly behind the leader. They stay in line until their work is done. */
class Behind<C, E, M extends Member<C>> implements Others<M> {
  readonly #group: Group<C, E, M>
  readonly #work: Work<C>
  readonly #entry: State.Entry<C>
  readonly #longestMillis: number
  readonly taken: Array<State.Waiter<C>> = []
  #startedAt: number | undefined = undefined
  /** The time at which the work before the last call of `next` was done. */
  ranUntil = 0

  constructor(group: Group<C, E, M>, work: Work<C>, entry: State.Entry<C>, longestMillis: number) {
    this.#group = group
    this.#work = work
    this.#entry = entry
    this.#longestMillis = longestMillis
  }

  readonly next = (): M | undefined => {
    const { taken } = this
    const last = taken.at(-1)
    this.#entry.member = undefined
    this.ranUntil = this.#work.now()
    this.#startedAt ??= this.ranUntil
    if (taken.length + 1 >= mostMembers || this.ranUntil - this.#startedAt >= this.#longestMillis) return undefined
    if (last !== undefined && !this.#isWaiting(last)) return undefined
    const waiter = this.#group.member(last === undefined ? this.#work.state.waiters.head : last.next)
    if (waiter === undefined) return undefined
    taken.push(waiter)
    this.#entry.member = waiter.lease
    return (waiter.lease as GroupedLease<C, E, M>).member
  }

  get areWaiting(): boolean {
    return this.taken.every((waiter) => this.#isWaiting(waiter))
  }

  #isWaiting(waiter: State.Waiter<C>): boolean {
    return waiter.list === this.#work.state.waiters
  }
}

/** The lease of a caller of a group. */
class GroupedLease<C, E, M extends Member<C>> extends LeaseEffect<C, E, unknown, unknown, never> {
  readonly group: Group<C, E, M>
  readonly member: M
  /** The answer of its work, if another caller has led the group. */
  answer: Exit.Exit<unknown, unknown> | undefined = undefined

  constructor(
    callers: Callers<C, E>,
    fiber: Fiber.Fiber<unknown, unknown>,
    options: CallSettings | undefined,
    group: Group<C, E, M>,
    member: M
  ) {
    super(callers, undefined, fiber, options)
    this.group = group
    this.member = member
    this.f = (connection) => this.answer ?? this.group.lead(this, connection)
  }

  override step(): Effect.Effect<unknown, unknown> {
    return this.answer ?? super.step()
  }
}

/** Asks for a connection as a caller of a group. */
class GroupedUse<C, E, M extends Member<C>> extends Runtime.OwnStep<unknown, unknown, never> {
  readonly #callers: Callers<C, E>
  readonly #group: Group<C, E, M>
  readonly #member: M
  readonly #options: AcquireOptions | undefined

  constructor(callers: Callers<C, E>, group: Group<C, E, M>, member: M, options: AcquireOptions | undefined) {
    super()
    this.#callers = callers
    this.#group = group
    this.#member = member
    this.#options = options
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<unknown, unknown> {
    const settings = this.#callers.resolve(this.#options)
    if (Calls.isRefused(settings)) return Effect.fail(settings)
    this.#member.waits()
    return secured(new GroupedLease(this.#callers, fiber, settings, this.#group, this.#member), fiber)
  }
}
