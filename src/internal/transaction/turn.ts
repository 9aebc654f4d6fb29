/** Whose turn it is on something that fibers use one after the other: theirs in order of arrival, until it ends. */
import { Effect, type Fiber, type Tracer } from "effect"
import type { TurnHolder } from "../../TransactionError.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as LinkedList from "../structures/linkedList.ts"
import * as Alarm from "../structures/timer.ts"

/** What a fiber wants its turn for. */
export interface Request {
  /** What it does, for the errors of others. */
  readonly operation: string
  readonly label: string | undefined
  /** How long it waits at most. */
  readonly timeoutMillis: number
}

/** What a fiber is told whose turn did not come in time. */
export interface Late {
  readonly operation: string
  readonly waitedMillis: number
  readonly timeoutMillis: number
  readonly holder: TurnHolder
}

/** The deadlines of all who wait in one transaction. */
export class Waits {
  readonly #deadlines = new Deadlines.Deadlines<Place>()
  #alarm: Alarm.Alarm | undefined

  now(fiber: Fiber.Fiber<unknown, unknown>): number {
    this.#alarm ??= Alarm.make(fiber.context, (now) => this.#ring(now))
    return this.#alarm.now()
  }

  add(place: Place, now: number): void {
    Deadlines.add(this.#deadlines, place, now, place.request.timeoutMillis)
    this.#setAlarm()
  }

  cancel(place: Place): void {
    if (place.row === undefined) return
    Deadlines.cancel(this.#deadlines, place)
    this.#setAlarm()
  }

  #ring(now: number): void {
    // Those that are late are told so before any of them leaves the line.
    const late: Array<Place> = []
    for (;;) {
      const place = Deadlines.takeDue(this.#deadlines, now)
      if (place === undefined) break
      late.push(place)
    }
    for (const place of late) place.expire?.(now)
    this.#setAlarm()
  }

  #setAlarm(): void {
    const due = Deadlines.nextDue(this.#deadlines)
    if (due === Infinity) this.#alarm!.stop()
    else this.#alarm!.set(due, true)
  }
}

class Place extends Deadlines.Timed<Place> {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly request: Request
  readonly span: Tracer.AnySpan | undefined
  isHolding = false
  /** Since when, if it is holding. */
  heldFrom = 0
  /** Continues the one who waits. */
  wake: (() => void) | undefined = undefined
  /** Ends the wait, which has been too long. */
  expire: ((now: number) => void) | undefined = undefined
  /** Looks no longer whether the fiber has ended. */
  forget: (() => void) | undefined = undefined

  constructor(fiber: Fiber.Fiber<unknown, unknown>, request: Request) {
    super()
    this.fiber = fiber
    this.request = request
    this.span = fiber.cache.span
  }
}

export class Turn {
  readonly #waits: Waits
  #holder: Place | undefined
  #hasEnded = false
  readonly #line = new LinkedList.LinkedList<Place>()

  constructor(waits: Waits) {
    this.#waits = waits
  }

  /** Whether nobody has it: what takes a single step need not take it then. */
  get isFree(): boolean {
    return this.#holder === undefined
  }

  /**
   * Runs an effect while nobody else has the turn. The wait can be interrupted, and fails with what `late` makes when it
   * has been too long. After the end nobody waits any more, and the effect is the one to notice.
   */
  take<A, E, R, E2>(
    effect: Effect.Effect<A, E, R>,
    request: Request,
    late: (late: Late) => E2
  ): Effect.Effect<A, E | E2, R> {
    return Effect.withFiber((fiber) => {
      const place = new Place(fiber, request)
      // What undoes it is installed before anything is done; between the two, the fiber may be interrupted.
      return Effect.onExitPrimitive(
        // Asking and joining the line are one step: whoever asks later comes later.
        Effect.callback<A, E | E2, R>((resume) => {
          const now = this.#waits.now(fiber)
          if (this.isFree || this.#hasEnded) {
            this.#hold(place, now)
            return resume(effect)
          }
          if (request.timeoutMillis <= 0) return resume(Effect.fail(late(this.#late(place, now, now))))
          LinkedList.push(this.#line, place)
          // Continued inline, each would run on the stack of the one before: a thousand overflow it.
          const goOn = (next: Effect.Effect<A, E | E2, R>) =>
            fiber.currentDispatcher.scheduleTask(() => resume(next), 0)
          place.wake = () => goOn(effect)
          place.expire = (at) => {
            LinkedList.remove(place)
            goOn(Effect.fail(late(this.#late(place, now, at))))
          }
          this.#waits.add(place, now)
        }),
        () => {
          this.#leave(place)
          return undefined
        }
      )
    })
  }

  /** Lets all go on who wait. */
  end(): void {
    this.#hasEnded = true
    for (const place of LinkedList.members(this.#line)) {
      LinkedList.remove(place)
      this.#waits.cancel(place)
      place.wake?.()
    }
  }

  #hold(place: Place, now: number): void {
    this.#holder ??= place
    place.isHolding = true
    place.heldFrom = now
    // A fiber that evaluates something that is no effect ends without its finalizers.
    place.forget = place.fiber.addObserver(() => this.#leave(place))
  }

  #leave(place: Place): void {
    LinkedList.remove(place)
    this.#waits.cancel(place)
    if (!place.isHolding) return
    place.isHolding = false
    place.forget?.()
    if (this.#holder !== place) return
    const next = LinkedList.shift(this.#line)
    this.#holder = undefined
    if (next === undefined) return
    this.#waits.cancel(next)
    this.#hold(next, this.#waits.now(next.fiber))
    next.wake?.()
  }

  #late(place: Place, from: number, now: number): Late {
    const { fiber, heldFrom, request, span } = this.#holder!
    const { operation, timeoutMillis } = place.request
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

const labelOf = (label: string | undefined, span: Tracer.AnySpan | undefined) => {
  const name = label ?? (span?._tag === "Span" ? span.name : undefined)
  return {
    ...(name === undefined ? undefined : { label: name }),
    ...(span === undefined ? undefined : { span: { traceId: span.traceId, spanId: span.spanId } })
  }
}
