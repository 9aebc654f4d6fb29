/** Values that are made when somebody asks for them, and given again for a while: so ten who ask cost as much as one. */
import { Clock, Effect, Semaphore } from "effect"

export class Kept<K, A> {
  readonly #forMillis: number
  readonly #make: (key: K, at: number) => Effect.Effect<A>
  readonly #values = new Map<K, { readonly at: number; readonly value: A }>()
  /** Who asks while a value is made waits for it. */
  readonly #one = Semaphore.makeUnsafe(1)

  constructor(forMillis: number, make: (key: K, at: number) => Effect.Effect<A>) {
    this.#forMillis = forMillis
    this.#make = make
  }

  get(key: K): Effect.Effect<A> {
    return this.#one.withPermit(Effect.gen({ self: this }, function*() {
      const at = yield* Clock.currentTimeMillis
      const known = this.#values.get(key)
      if (known !== undefined && this.#isFresh(known.at, at)) return known.value
      const value = yield* this.#make(key, at)
      this.#values.set(key, { at, value })
      return value
    }))
  }

  /** Forgets what is too old to be given again, and with it what it shows. */
  forget(now: number): void {
    for (const [key, { at }] of this.#values) if (!this.#isFresh(at, now)) this.#values.delete(key)
  }

  #isFresh(at: number, now: number): boolean {
    return now >= at && now - at < this.#forMillis
  }
}
