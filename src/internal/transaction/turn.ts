/** Gives fibers their turns on something that only one of them may use at a time, in order of arrival. */
import { Clock, Context, Effect, type Fiber, type Tracer } from "effect"
import type { TurnHolder } from "../../TransactionError.ts"
import { observe, onExitWithin, OwnStep, spanOf } from "../runtime.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as LinkedList from "../structures/linkedList.ts"
import * as Alarm from "../structures/timer.ts"

/** The request of a fiber for its turn. */
export interface Request {
  /** What the fiber does in its turn. The errors of fibers that wait name it. */
  readonly operation: string
  readonly label: string | undefined
  readonly timeoutMillis: number
}

/** Why a fiber did not get its turn within its deadline. */
export interface Late {
  readonly operation: string
  readonly waitedMillis: number
  readonly timeoutMillis: number
  readonly holder: TurnHolder
}

/** The deadlines of all tickets in the lines of one transaction. */
export class TurnDeadlines {
  /** Made for the first ticket that has to wait: most transactions have none. */
  #deadlines: Deadlines.Deadlines<Ticket> | undefined = undefined
  #alarm: Alarm.Alarm | undefined
  /** The context of the first fiber, whose clock counts. */
  #context: Context.Context<never> | undefined = undefined
  #now: (() => number) | undefined = undefined

  now(fiber: Fiber.Fiber<unknown, unknown>): number {
    if (this.#now === undefined) {
      this.#context = fiber.context
      this.#now = Alarm.nowOf(Context.get(fiber.context, Clock.Clock))
    }
    return this.#now()
  }

  /** `now` is what `now` has returned. */
  add(ticket: Ticket, now: number): void {
    this.#deadlines ??= new Deadlines.Deadlines()
    this.#alarm ??= Alarm.make(this.#context!, (now) => this.#ring(now))
    Deadlines.add(this.#deadlines, ticket, now, ticket.request.timeoutMillis)
    this.#setAlarm(this.#deadlines)
  }

  cancel(ticket: Ticket): void {
    const deadlines = this.#deadlines
    if (deadlines === undefined || ticket.row === undefined) return
    Deadlines.cancel(deadlines, ticket)
    this.#setAlarm(deadlines)
  }

  #ring(now: number): void {
    // The alarm is set only for tickets.
    const deadlines = this.#deadlines!
    // No ticket leaves the line before all late tickets are known.
    const late: Array<Ticket> = []
    for (;;) {
      const ticket = Deadlines.takeDue(deadlines, now)
      if (ticket === undefined) break
      late.push(ticket)
    }
    for (const ticket of late) ticket.expire?.(now)
    this.#setAlarm(deadlines)
  }

  #setAlarm(deadlines: Deadlines.Deadlines<Ticket>): void {
    const due = Deadlines.nextDue(deadlines)
    if (due === Infinity) this.#alarm!.stop()
    else this.#alarm!.set(due, true)
  }
}

/** A fiber in the line, and later its turn. */
class Ticket extends Deadlines.Timed<Ticket> {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly request: Request
  readonly span: Tracer.AnySpan | undefined
  isHolding = false
  /** The time at which its turn began, while it has the turn. */
  heldFrom = 0
  /** Lets the waiting fiber go on. */
  wake: (() => void) | undefined = undefined
  /** Ends the wait at its deadline. */
  expire: ((now: number) => void) | undefined = undefined
  /** Stops watching whether the fiber has ended. */
  forget: (() => void) | undefined = undefined

  constructor(fiber: Fiber.Fiber<unknown, unknown>, request: Request) {
    super()
    this.fiber = fiber
    this.request = request
    this.span = spanOf(fiber)
  }
}

export class Turn {
  readonly #deadlines: TurnDeadlines
  readonly #ownFiber: Fiber.Fiber<unknown, unknown> | undefined
  #holder: Ticket | undefined
  #hasEnded = false
  readonly #line = new LinkedList.LinkedList<Ticket>()

  /** Whoever makes it calls `end` if `ownFiber` ends without its finalizers. */
  constructor(deadlines: TurnDeadlines, ownFiber?: Fiber.Fiber<unknown, unknown>) {
    this.#deadlines = deadlines
    this.#ownFiber = ownFiber
  }

  /** Whether no fiber has the turn. Then a statement of a single step may run without taking it. */
  get isFree(): boolean {
    return this.#holder === undefined
  }

  /**
   * Runs an effect while no other fiber has the turn. The wait can be interrupted; at its deadline it fails with the
   * error that `late` makes. After `end` no fiber waits: the effect runs at once, and must find out itself that all has
   * ended.
   */
  take<A, E, R, E2>(
    effect: Effect.Effect<A, E, R>,
    request: Request,
    late: (late: Late) => E2
  ): Effect.Effect<A, E | E2, R> {
    return new Taking(this, effect, request, late)
  }

  /** `take`, in the present step of a fiber. The step must return the result of this function unchanged. */
  takeWithin<A, E, R, E2>(
    fiber: Fiber.Fiber<unknown, unknown>,
    effect: Effect.Effect<A, E, R>,
    request: Request,
    late: (late: Late) => E2
  ): Effect.Effect<A, E | E2, R> {
    // Most turns are free. Asking and holding are one step.
    const now = this.takeNow(fiber, request)
    if (now !== undefined) return onExitWithin(effect, fiber, now)
    const ticket = new Ticket(fiber, request)
    return onExitWithin(this.#wait(ticket, effect, late), fiber, () => void this.#leave(ticket))
  }

  /**
   * Takes the turn in the present step of a fiber, unless the fiber has to wait. Returns the function that gives it back, which the
   * step has to install as a finalizer.
   */
  takeNow(fiber: Fiber.Fiber<unknown, unknown>, request: Request): (() => undefined) | undefined {
    if (!this.isFree && !this.#hasEnded) return undefined
    const ticket = new Ticket(fiber, request)
    this.#hold(ticket, this.#deadlines.now(fiber))
    return () => void this.#leave(ticket)
  }

  /** Joins the line. Leaving it is the matter of a finalizer that is installed before. */
  #wait<A, E, R, E2>(
    ticket: Ticket,
    effect: Effect.Effect<A, E, R>,
    late: (late: Late) => E2
  ): Effect.Effect<A, E | E2, R> {
    const { fiber, request } = ticket
    // Asking and joining the line are one step, so a fiber that asks later comes later.
    return Effect.callback<A, E | E2, R>((resume) => {
      const now = this.#deadlines.now(fiber)
      if (this.isFree || this.#hasEnded) {
        this.#hold(ticket, now)
        return resume(effect)
      }
      if (request.timeoutMillis <= 0) return resume(Effect.fail(late(this.#late(ticket, now, now))))
      LinkedList.push(this.#line, ticket)
      // Resumed inline, each fiber would run on the stack of the one before it: a thousand overflow the stack.
      const goOn = (next: Effect.Effect<A, E | E2, R>) => fiber.currentDispatcher.scheduleTask(() => resume(next), 0)
      ticket.wake = () => goOn(effect)
      ticket.expire = (at) => {
        LinkedList.remove(ticket)
        goOn(Effect.fail(late(this.#late(ticket, now, at))))
      }
      this.#deadlines.add(ticket, now)
    })
  }

  /** Ends all turns: lets every fiber in the line go on. */
  end(): void {
    this.#hasEnded = true
    if (this.#line.length === 0) return
    for (const ticket of LinkedList.members(this.#line)) {
      LinkedList.remove(ticket)
      this.#deadlines.cancel(ticket)
      ticket.wake?.()
    }
  }

  #hold(ticket: Ticket, now: number): void {
    this.#holder ??= ticket
    ticket.isHolding = true
    ticket.heldFrom = now
    // A fiber that evaluates something that is no Effect ends without its finalizers.
    if (ticket.fiber !== this.#ownFiber) ticket.forget = observe(ticket.fiber, () => this.#leave(ticket))
  }

  #leave(ticket: Ticket): void {
    LinkedList.remove(ticket)
    this.#deadlines.cancel(ticket)
    if (!ticket.isHolding) return
    ticket.isHolding = false
    ticket.forget?.()
    if (this.#holder !== ticket) return
    const next = LinkedList.shift(this.#line)
    this.#holder = undefined
    if (next === undefined) return
    this.#deadlines.cancel(next)
    this.#hold(next, this.#deadlines.now(next.fiber))
    next.wake?.()
  }

  #late(ticket: Ticket, from: number, now: number): Late {
    const { fiber, heldFrom, request, span } = this.#holder!
    const { operation, timeoutMillis } = ticket.request
    return {
      operation,
      waitedMillis: now - from,
      timeoutMillis,
      holder: {
        fiber: fiber.id,
        operation: request.operation,
        ...labelOf(request.label, span),
        heldMillis: now - heldFrom
      }
    }
  }
}

/** `Turn.take` as an effect. */
class Taking<A, E, R, E2> extends OwnStep<A, E | E2, R> {
  readonly #turn: Turn
  readonly #effect: Effect.Effect<A, E, R>
  readonly #request: Request
  readonly #late: (late: Late) => E2

  constructor(turn: Turn, effect: Effect.Effect<A, E, R>, request: Request, late: (late: Late) => E2) {
    super()
    this.#turn = turn
    this.#effect = effect
    this.#request = request
    this.#late = late
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E | E2, R> {
    return this.#turn.takeWithin(fiber, this.#effect, this.#request, this.#late)
  }
}

const labelOf = (label: string | undefined, span: Tracer.AnySpan | undefined) => {
  const name = label ?? (span?._tag === "Span" ? span.name : undefined)
  return {
    ...(name === undefined ? undefined : { label: name }),
    ...(span === undefined ? undefined : { span: { traceId: span.traceId, spanId: span.spanId } })
  }
}
