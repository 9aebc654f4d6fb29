/** Whose turn it is on something that fibers use one after the other: theirs in order of arrival, until it ends. */
import { Effect } from "effect"
import * as LinkedList from "./linkedList.ts"

class Place extends LinkedList.Linked<Place> {
  isHolding = false
  /** Continues the one who waits, once they do. */
  wake: (() => void) | undefined = undefined
}

export class Turn {
  #isTaken = false
  #hasEnded = false
  readonly #line = new LinkedList.LinkedList<Place>()

  /** Whether nobody has it: what takes a single step need not take it then. */
  get isFree(): boolean {
    return !this.#isTaken
  }

  /**
   * Runs an effect while nobody else has the turn. The wait can be interrupted. After the end nobody waits any more, and
   * the effect is the one to notice.
   */
  take<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.withFiber((fiber) => {
      const place = new Place()
      // What undoes it is installed before anything is done; between the two, the fiber may be interrupted.
      return Effect.onExitPrimitive(
        Effect.suspend(() => {
          if (!this.#isTaken || this.#hasEnded) {
            this.#hold(place)
            return effect
          }
          LinkedList.push(this.#line, place)
          const wait = Effect.callback<void>((resume) => {
            // It may be its turn already: between joining the line and this, the fiber may have let others go first.
            if (place.list === undefined) return resume(Effect.void)
            // Woken inline, each would run on the stack of the one before: a thousand overflow it.
            place.wake = () => fiber.currentDispatcher.scheduleTask(() => resume(Effect.void), 0)
          })
          return Effect.andThen(wait, effect)
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
      place.wake?.()
    }
  }

  #hold(place: Place): void {
    this.#isTaken = true
    place.isHolding = true
  }

  #leave(place: Place): void {
    LinkedList.remove(place)
    if (!place.isHolding) return
    const next = LinkedList.shift(this.#line)
    this.#isTaken = false
    if (next === undefined) return
    this.#hold(next)
    next.wake?.()
  }
}
