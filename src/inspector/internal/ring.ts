/** The last so many values, each with a number that goes up. */
export class Ring<A extends { readonly number: number }> {
  readonly #values: Array<A> = []
  readonly #most: number
  /** The place of the oldest value, once the ring is full. */
  #oldest = 0
  #next = 1

  constructor(most: number) {
    this.#most = most
  }

  /** Adds the value that is made with the next number. The oldest one goes if there are too many. */
  add(make: (number: number) => A): void {
    const value = make(this.#next++)
    if (this.#values.length < this.#most) {
      this.#values.push(value)
      return
    }
    this.#values[this.#oldest] = value
    this.#oldest = (this.#oldest + 1) % this.#most
  }

  get oldest(): A | undefined {
    return this.#values[this.#oldest]
  }

  get newest(): A | undefined {
    return this.#values.at(this.#oldest - 1)
  }

  /** The values with higher numbers, the oldest first. */
  after(number: number): ReadonlyArray<A> {
    const { length } = this.#values
    // A number of the future is one of an inspector that is gone.
    const wanted = number >= this.#next ? length : Math.min(length, this.#next - 1 - Math.max(0, number))
    const found: Array<A> = []
    for (let index = length - wanted; index < length; index++) {
      found.push(this.#values[(this.#oldest + index) % length]!)
    }
    return found
  }
}
