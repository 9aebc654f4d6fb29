/**
 * Pipelines: callers whose requests may be sent on a connection before they have a lease of it.
 *
 * For a driver that talks to something outside of this thread, a lease for each request would cost a round trip for each
 * request. A caller of a pipeline stands in line like every other caller. When one of them gets a connection, the requests of
 * those directly behind it go out with its own. They stay in line, with their deadlines, and whoever gets its answer there
 * is served: it counts as if it had had a lease of its own. A caller that gets another connection before that soon takes
 * its request back, and sends it there. So nobody waits behind a slow request while a connection is free.
 *
 * A request that changes something is sent once, and it has to be possible to know whether it was taken back in time. If not,
 * its caller gets the answer, also if it was interrupted meanwhile or could not wait any longer. The numbers of the pool say that
 * such a caller has left the line, for it has had no lease.
 */
import { Effect, type Exit, type Fiber } from "effect"
import type { AcquireOptions } from "../../PoolConfig.ts"
import type { PoolError } from "../../PoolError.ts"
import * as Calls from "../options/call.ts"
import type { CallSettings } from "../options/settings.ts"
import * as Runtime from "../runtime.ts"
import * as Alarm from "../structures/timer.ts"
import * as Body from "./body.ts"
import { type Callers, LeaseEffect } from "./callers.ts"
import { reasonToLeave } from "./reasons.ts"
import * as Sharing from "./sharing.ts"
import type * as State from "./state.ts"
import type { Work } from "./work.ts"

/** The answer to a request. `undefined`: the connection was lost, and its caller had no lease of it. */
export type Answer = Exit.Exit<unknown, unknown> | undefined

/** The request of one caller. */
export interface Member<C> {
  /**
   * Sends the request. `done` is called once with the answer, never in this step, and not after the request was taken back.
   * Returns a function that takes it back. `isAhead`: the caller has no lease yet.
   */
  readonly send: (connection: C, isAhead: boolean, done: (answer: Answer) => void) => Sent
  /** Whether others may be sent behind it, and it behind others: it is not known to take long. */
  readonly isQuick: () => boolean
  /** Whether it changes something, so that it is never sent again while it is out. */
  readonly isOnce: boolean
  /** What a caller with a lease does besides: `answer` waits for the answer to its request. Default: nothing. */
  readonly lead?: (connection: C, answer: Effect.Effect<unknown, unknown>) => Effect.Effect<unknown, unknown>
}

/** A request that is out. */
export interface Sent {
  /**
   * Takes the request back. Returns whether that was in time: if not, the answer follows. `isMoved`: its caller sends it on
   * another connection.
   */
  readonly takeBack: (isMoved: boolean) => boolean
  /** Its caller has a lease of the connection now. */
  readonly own: () => void
}

/** The most requests that are sent ahead of their leases at once on one connection. */
const mostAhead = 128

/** A request that was sent ahead is sent on another connection only if nothing was answered on its own for so long. */
const staleMillis = 10

interface Gatherer<C, E> {
  readonly lease: PipelinedLease<C, E>
  readonly entry: State.Entry<C>
  readonly connection: C
}

export class Pipeline<C, E> {
  readonly callers: Callers<C, E>
  readonly #work: Work<C>
  /** The callers that have sent their requests in this step, on connections that may get more. */
  #gatherers: Array<Gatherer<C, E>> = []
  /** The callers that have got their answers, and do not know it yet. */
  #answered: Array<PipelinedLease<C, E>> = []
  /** The callers that have one connection, while their requests are out on another. */
  #elsewhere: Array<Gatherer<C, E>> = []
  readonly #alarm: Alarm.Alarm
  /** When a request was last answered on a connection. */
  readonly #answeredAt = new WeakMap<State.Entry<C>, number>()

  constructor(callers: Callers<C, E>, work: Work<C>) {
    this.callers = callers
    this.#work = work
    this.#alarm = Alarm.make(work.context, (now) => this.#ring(now))
  }

  use<A, X>(member: Member<C>, options: AcquireOptions | undefined): Effect.Effect<A, X | PoolError<E>> {
    const used = member.isOnce
      ? truthful((noted) => new PipelinedUse(this, member, options, noted))
      : new PipelinedUse(this, member, options, undefined)
    return used as Effect.Effect<unknown, unknown> as Effect.Effect<A, X | PoolError<E>>
  }

  now(): number {
    return this.#work.now()
  }

  /** Sends more requests on a connection at the end of this step, when others have joined the line. */
  gather(lease: PipelinedLease<C, E>, entry: State.Entry<C>, connection: C): void {
    this.#gatherers.push({ lease, entry, connection })
    if (this.#gatherers.length === 1) queueMicrotask(this.#sendAhead)
  }

  /** Sends a request again on the connection that its caller has now, unless the answer comes soon from the other one. */
  elsewhere(lease: PipelinedLease<C, E>, entry: State.Entry<C>, connection: C): void {
    this.#elsewhere.push({ lease, entry, connection })
    this.#alarm.set(this.staleFrom(lease), false)
  }

  #ring(now: number): void {
    const waiting = this.#elsewhere.filter(({ entry, lease }) => lease.isElsewhere(entry))
    this.#elsewhere = []
    for (const { connection, entry, lease } of waiting) {
      if (lease.mayBeSentOn(entry, now)) lease.send(entry, connection, false)
      else this.elsewhere(lease, entry, connection)
    }
  }

  /** From when on a request that is out counts as stuck. */
  staleFrom({ sentAt, sentOn }: PipelinedLease<C, E>): number {
    return Math.max(sentAt, this.#answeredAt.get(sentOn!) ?? 0) + staleMillis
  }

  readonly #sendAhead = (): void => {
    const { state } = this.#work
    const now = this.now()
    const gatherers = this.#gatherers.filter(({ entry, lease }) =>
      lease.stage === "held" && lease.entry === entry && !state.paused && reasonToLeave(state, entry, now) === undefined
    )
    this.#gatherers = []
    if (gatherers.length === 0) return
    let next = 0
    for (const lease of this.#behind(gatherers.length * mostAhead)) {
      const { connection, entry } = gatherers[next % gatherers.length]!
      if (!lease.mayBeSentOn(entry, now)) continue
      next++
      lease.send(entry, connection, true)
    }
  }

  /** The callers at the head of the line whose requests may be sent ahead. */
  #behind(most: number): ReadonlyArray<PipelinedLease<C, E>> {
    const found: Array<PipelinedLease<C, E>> = []
    let waiter = this.#work.state.waiters.head
    while (waiter !== undefined && found.length < most) {
      const { lease } = waiter
      if (!(lease instanceof PipelinedLease) || lease.pipeline !== this || !lease.member.isQuick()) break
      found.push(lease)
      waiter = waiter.next
    }
    return found
  }

  /** A caller has its answer. Those whose answers came with one message go on together, after all of them were noted. */
  answered(lease: PipelinedLease<C, E>): void {
    this.#answered.push(lease)
    if (this.#answered.length === 1) queueMicrotask(this.#serve)
  }

  readonly #serve = (): void => {
    const leases = this.#answered
    this.#answered = []
    const { state } = this.#work
    const now = this.now()
    // First those in line, so that none of them gets the connection that the others return.
    for (const lease of leases) {
      this.#answeredAt.set(lease.sentOn!, now)
      if (lease.stage !== "waiting") continue
      Sharing.serve(state, lease.waiter!, lease.sentOn!, lease.sentAt, now, Body.failureIn(lease.answer!))
    }
    for (const lease of leases) lease.goOn()
    this.#work.attend()
  }
}

/** The lease of a caller of a pipeline. */
class PipelinedLease<C, E> extends LeaseEffect<C, E, unknown, unknown, never> {
  readonly pipeline: Pipeline<C, E>
  readonly member: Member<C>
  answer: Exit.Exit<unknown, unknown> | undefined = undefined
  /** The connection on which its request was sent, and when. */
  sentOn: State.Entry<C> | undefined = undefined
  sentAt = 0
  /** Whether the caller has left, but its request was not taken back in time, so that the caller has to get the answer. */
  isLate = false
  /** Whether the caller, with a lease, has got the answer. */
  isTold = false
  #sent: Sent | undefined = undefined
  /** Set while a caller that has left waits for the answer. */
  #resumeLate: ((answer: Effect.Effect<Answer>) => void) | undefined = undefined
  /** Set while the caller has a connection and waits for the answer. */
  #resume: ((effect: Effect.Effect<unknown, unknown>) => void) | undefined = undefined

  constructor(
    pipeline: Pipeline<C, E>,
    fiber: Fiber.Fiber<unknown, unknown>,
    options: CallSettings | undefined,
    member: Member<C>
  ) {
    super(pipeline.callers, undefined, fiber, options)
    this.pipeline = pipeline
    this.member = member
    this.f = (connection) => {
      const answer = this.answer ?? this.#lead(connection)
      return member.lead === undefined ? answer : member.lead(connection, answer)
    }
  }

  override step(): Effect.Effect<unknown, unknown> {
    // Served in line. With a lease of its own, it has to take that first.
    return this.stage === "ended" && this.answer !== undefined ? this.answer : super.step()
  }

  /** Whether the request may be sent on this connection: it is not out, or stuck on another one. */
  mayBeSentOn(entry: State.Entry<C>, now: number): boolean {
    if (this.answer !== undefined) return false
    if (this.#sent === undefined) return true
    return !this.member.isOnce && this.sentOn !== entry && now >= this.pipeline.staleFrom(this)
  }

  /** Whether the caller has this connection, and its request is out on another, or lost there. */
  isElsewhere(entry: State.Entry<C>): boolean {
    return this.stage === "held" && this.entry === entry && this.answer === undefined &&
      (this.#sent === undefined || this.sentOn !== entry)
  }

  /** The caller has a connection. */
  #lead(connection: C): Effect.Effect<unknown, unknown> {
    const entry = this.entry!
    return Effect.callback<unknown, unknown>((resume) => {
      this.#resume = resume
      // The fiber may have let others go first, and the answer has come meanwhile.
      if (this.answer !== undefined) return this.goOn()
      // Before the request is sent, so that those of others go out with it.
      if (this.member.isQuick()) this.pipeline.gather(this, entry, connection)
      if (this.#sent !== undefined && this.sentOn === entry) this.#sent.own()
      // What changes something and was not taken back in time is waited for, wherever it is.
      else if (this.member.isOnce) this.send(entry, connection, false)
      else if (this.mayBeSentOn(entry, this.pipeline.now())) this.send(entry, connection, false)
      else this.pipeline.elsewhere(this, entry, connection)
    })
  }

  send(entry: State.Entry<C>, connection: C, isAhead: boolean): void {
    if (!this.takeBack(true)) return
    this.sentOn = entry
    this.sentAt = this.pipeline.now()
    const sent: Sent = this.member.send(connection, isAhead, (answer) => {
      if (this.#sent === sent) this.#done(answer)
    })
    this.#sent = sent
  }

  /** Takes the request back, if it is out. Returns whether that was in time: if not, the answer follows. */
  takeBack(isMoved = false): boolean {
    const sent = this.#sent
    if (sent === undefined) return true
    const isInTime = sent.takeBack(isMoved)
    // What changes nothing may run to its end: its answer is of no use any more.
    if (!isInTime && this.member.isOnce) return false
    this.#sent = undefined
    return true
  }

  /** The caller leaves: takes its request back. */
  leave(): void {
    this.isLate = !this.takeBack()
  }

  /** The answer to a request that was not taken back in time; `undefined` if it was lost. */
  get late(): Effect.Effect<Answer> {
    return Effect.callback((resume) => {
      if (this.answer !== undefined || this.#sent === undefined) resume(Effect.succeed(this.answer))
      else this.#resumeLate = resume
    })
  }

  #done(answer: Answer): void {
    this.#sent = undefined
    if (this.isLate) {
      this.answer = answer
      return this.#resumeLate?.(Effect.succeed(answer))
    }
    // If it was lost, it is sent again when the caller gets a connection.
    if (answer === undefined) return
    this.answer = answer
    this.pipeline.answered(this)
  }

  /** Continues the caller, if it has a connection and waits for the answer. */
  goOn(): void {
    const resume = this.#resume
    this.#resume = undefined
    this.isTold ||= resume !== undefined
    resume?.(this.answer!)
  }
}

/** Where a use notes its lease, for what comes after its end. */
interface Noted {
  lease: PipelinedLease<never, never> | undefined
}

/** Ends with the answer to a request that was not taken back in time, instead of the interrupt or failure that came too late. */
const truthful = (use: (noted: Noted) => Effect.Effect<unknown, unknown>): Effect.Effect<unknown, unknown> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const noted: Noted = { lease: undefined }
      return Effect.flatMap(Effect.exit(restore(use(noted))), (exit) => {
        const { lease } = noted
        // The end of the use has taken its request back, or has noted that this came too late.
        if (lease === undefined || exit._tag === "Success" || exit === lease.answer) return exit
        if (!lease.isLate && (lease.answer === undefined || lease.isTold)) return exit
        return Effect.flatMap(lease.late, (answer) => {
          if (answer === undefined) return exit
          return Effect.withFiber((fiber) => {
            Runtime.postponeInterrupt(fiber, restore)
            return answer
          })
        })
      })
    })
  )

/** Asks for a connection as a caller of a pipeline. */
class PipelinedUse<C, E> extends Runtime.OwnStep<unknown, unknown, never> {
  readonly #pipeline: Pipeline<C, E>
  readonly #member: Member<C>
  readonly #options: AcquireOptions | undefined
  readonly #noted: Noted | undefined

  constructor(
    pipeline: Pipeline<C, E>,
    member: Member<C>,
    options: AcquireOptions | undefined,
    noted: Noted | undefined
  ) {
    super()
    this.#pipeline = pipeline
    this.#member = member
    this.#options = options
    this.#noted = noted
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<unknown, unknown> {
    const { callers } = this.#pipeline
    const settings = callers.resolve(this.#options)
    if (Calls.isRefused(settings)) return Effect.fail(settings)
    const lease = new PipelinedLease(this.#pipeline, fiber, settings, this.#member)
    if (this.#noted !== undefined) this.#noted.lease = lease as unknown as PipelinedLease<never, never>
    const secured = Runtime.onExitWithin(lease, fiber, (exit) => {
      lease.leave()
      return callers.end(lease, exit)
    })
    return secured === lease ? lease.step() : secured
  }
}
