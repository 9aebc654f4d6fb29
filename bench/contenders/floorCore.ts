/**
 * The least that a pool has to do: a stack of idle connections, a line of callers, and a hand-over that does not grow
 * the call stack and does not block the event loop. It does not open, validate, count or report anything. No pool can
 * be faster.
 */
import type { Connection } from "./ledger.ts"

/** A caller. It joins the line only if it has to wait. */
export interface Caller {
  connection: Connection | undefined
  isWaiting: boolean
  previous: Caller | undefined
  next: Caller | undefined
  dueAt: number
  /** Continues with the connection that it got. */
  readonly resume: () => void
  /** Continues without a connection. */
  readonly expire: () => void
}

/** The number of callers that the library wakes in one turn of the event loop. */
const wakesPerTurn = 64

export class FloorCore {
  readonly #idle: Array<Connection>
  readonly #ready: Array<Caller> = []
  readonly #timeout: number | undefined
  #head: Caller | undefined
  #tail: Caller | undefined
  #wakes = 0
  #isWaking = false
  #isScheduled = false
  #timer: NodeJS.Timeout | undefined

  constructor(connections: ReadonlyArray<Connection>, timeoutMillis: number | undefined) {
    this.#idle = [...connections]
    this.#timeout = timeoutMillis
  }

  get idle(): ReadonlyArray<Connection> {
    return this.#idle
  }

  take(): Connection | undefined {
    return this.#idle.pop()
  }

  join(caller: Caller): void {
    caller.isWaiting = true
    caller.previous = this.#tail
    if (this.#tail === undefined) this.#head = caller
    else this.#tail.next = caller
    this.#tail = caller
    if (this.#timeout === undefined) return
    caller.dueAt = performance.now() + this.#timeout
    // All callers have the same timeout, so the first in line is due first, and one timer is enough.
    this.#timer ??= setTimeout(this.#ring, this.#timeout)
  }

  leave(caller: Caller): void {
    const { next, previous } = caller
    if (previous === undefined) this.#head = next
    else previous.next = next
    if (next === undefined) this.#tail = previous
    else next.previous = previous
    caller.previous = undefined
    caller.next = undefined
    caller.isWaiting = false
  }

  give(connection: Connection): void {
    const caller = this.#head
    if (caller === undefined) {
      this.#idle.push(connection)
      return
    }
    this.leave(caller)
    caller.connection = connection
    this.#ready.push(caller)
    if (!this.#isWaking) this.#wake()
  }

  /** Ends a caller in whatever stage it is. */
  end(caller: Caller): void {
    const { connection } = caller
    if (connection !== undefined) {
      caller.connection = undefined
      this.give(connection)
    } else if (caller.isWaiting) this.leave(caller)
  }

  close(): void {
    clearTimeout(this.#timer)
    for (const connection of this.#idle) connection.close()
  }

  #wake(): void {
    this.#isWaking = true
    while (this.#ready.length > 0) {
      if (this.#wakes === wakesPerTurn) {
        this.#wakeLater()
        break
      }
      this.#wakes++
      this.#ready.shift()!.resume()
    }
    this.#isWaking = false
  }

  #wakeLater(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      this.#wakes = 0
      this.#wake()
    })
  }

  readonly #ring = (): void => {
    const now = performance.now()
    this.#timer = undefined
    while (this.#head !== undefined && this.#head.dueAt <= now) {
      const caller = this.#head
      this.leave(caller)
      caller.expire()
    }
    if (this.#head !== undefined) this.#timer = setTimeout(this.#ring, Math.ceil(this.#head.dueAt - now))
  }
}
