/**
 * The word of a request: shared memory in which the caller and the thread agree whether the request is stored.
 *
 * The caller cancels a request by setting its word from running to cancelled, and the thread commits only after setting it
 * from running to committing. Only one of the two succeeds, so each side knows what the other one has done: a request that
 * was cancelled in time has stored nothing, and one that was not is waited for.
 */
export const RUNNING = 0
export const COMMITTING = 1
export const CANCELLED = 2

export class Words {
  readonly shared: SharedArrayBuffer
  readonly #words: Int32Array

  /** Shares the words of another side, or makes `count` of its own. */
  constructor(shared: SharedArrayBuffer | number) {
    this.shared = typeof shared === "number" ? new SharedArrayBuffer(shared * Int32Array.BYTES_PER_ELEMENT) : shared
    this.#words = new Int32Array(this.shared)
  }

  /** A request with this number is about to be sent. */
  begin(id: number): void {
    Atomics.store(this.#words, id, RUNNING)
  }

  /** Cancels a request. Returns whether it was in time: if not, the request is or was being committed. */
  cancel(id: number): boolean {
    return Atomics.compareExchange(this.#words, id, RUNNING, CANCELLED) !== COMMITTING
  }

  /** Begins to commit, or goes on with it. Returns whether that is allowed: if not, the request was cancelled. */
  commit(id: number): boolean {
    return Atomics.compareExchange(this.#words, id, RUNNING, COMMITTING) !== CANCELLED
  }

  isCancelled(id: number): boolean {
    return Atomics.load(this.#words, id) === CANCELLED
  }

  isCommitting(id: number): boolean {
    return Atomics.load(this.#words, id) === COMMITTING
  }
}
