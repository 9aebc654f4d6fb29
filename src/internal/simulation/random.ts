/** Random numbers that a seed decides. */

/** A stream of random numbers: the generator `sfc32`, which passes the usual tests of randomness. */
export class Stream {
  #a = 0
  #b = 0
  #c = 0
  #counter = 1

  constructor(seed: number, stream: number, index = 0) {
    this.reset(seed, stream, index)
  }

  /** Begins another stream. Streams of other seeds, stream numbers or indexes are independent. */
  reset(seed: number, stream: number, index: number): void {
    // A seed has up to 53 bits.
    this.#a = seed | 0
    this.#b = (Math.floor(seed / 2 ** 32) | 0) ^ Math.imul(stream + 1, 0x9e3779b1)
    this.#c = index | 0
    this.#counter = 1
    for (let round = 0; round < 12; round++) this.#word()
  }

  /** A number from 0 to below 1. */
  readonly next = (): number => (this.#word() >>> 5) / 2 ** 27

  #word(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (this.#c << 21) | (this.#c >>> 11)
    this.#c = (this.#c + sum) | 0
    return sum
  }
}

/** A number with the exponential distribution and the mean 1. */
export const exponential = (random: () => number): number => -Math.log(1 - random())

/** A number with the normal distribution, the mean 0 and the deviation 1. */
export const normal = (random: () => number): number =>
  Math.sqrt(2 * exponential(random)) * Math.cos(2 * Math.PI * random())

/** What is made of random numbers, each for one purpose. */
export const streams = { arrivals: 0, service: 1, connect: 2, validate: 3, reset: 4, pool: 5 } as const
