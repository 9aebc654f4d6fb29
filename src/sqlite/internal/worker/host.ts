/**
 * The side of the caller: sends the requests of one connection to its thread, and hands out the answers.
 *
 * It is synchronous and knows no fibers: each request has a receiver, whose functions are called with the answers.
 */
import { notText } from "../connection/preparedStatements.ts"
import type { Failure } from "../failures.ts"
import { decodeFailure } from "./failureData.ts"
import { encodeParams } from "./params.ts"
import {
  type Answer,
  type Answers,
  chunksAhead,
  type ControlName,
  type Controls,
  mostRequests,
  type Request,
  type State,
  type Way
} from "./protocol.ts"
import { type Known, Texts } from "./texts.ts"
import type { Words } from "./word.ts"

/** Gets the answers of one request. Exactly one of `ended`, `failed` and `cancelled` is called, once. */
export interface Receiver {
  readonly rows: (rows: ReadonlyArray<ReadonlyArray<unknown>>, columns: ReadonlyArray<string>) => void
  /** The request has ended. The value of a control or of a statement without rows. */
  readonly ended: (value: unknown) => void
  /** `isUnknown`: the thread has ended while it committed, so nobody knows whether something was stored. */
  readonly failed: (thrown: unknown, isUnknown: boolean) => void
  /** It was cancelled in time: nothing of it is stored. */
  readonly cancelled: () => void
}

export interface Statement {
  readonly operation: string
  readonly way: Way
  readonly sql: string
  readonly params: unknown
  readonly bigInts: boolean
  readonly isAlone: boolean
  readonly isStream: boolean
}

/** A request that was made. */
export interface Pending {
  readonly receiver: Receiver
  /** The text, or the name of the operation. */
  readonly description: string
  readonly make: (id: number) => Request
  known: Known | undefined
  /** Not set while it waits for a number. */
  id: number | undefined
  columns: ReadonlyArray<string>
  isCancelled: boolean
}

export interface Port {
  readonly send: (requests: ReadonlyArray<Request>) => void
  /** Called when requests are out, and when none is out any more. Only meanwhile the thread keeps the process alive. */
  readonly busy: (isBusy: boolean) => void
}

export class Host {
  readonly #port: Port
  readonly #words: Words
  readonly #texts: Texts
  readonly #free: Array<number> = []
  readonly #pending = new Map<number, Pending>()
  /** The requests that wait for a number. */
  readonly #waiting: Array<Pending> = []
  #outbox: Array<Request> = []
  #isFlushing = false
  #state: State = { isUsable: true, needsReset: false, isTransaction: false, isPinning: false }
  #death: Failure | undefined
  /** Called once when nothing is out any more. */
  #onIdle: Array<() => void> = []

  constructor(port: Port, words: Words, textsToKeep: number) {
    this.#port = port
    this.#words = words
    this.#texts = new Texts(textsToKeep)
    for (let id = mostRequests - 1; id >= 0; id--) this.#free.push(id)
  }

  /** The state after the last answer. While requests are out, it may be another one. */
  get state(): State {
    return this.#state
  }

  /** Why the thread has ended, if it has. */
  get death(): Failure | undefined {
    return this.#death
  }

  /** The requests that are out. */
  get size(): number {
    return this.#pending.size + this.#waiting.length
  }

  /** The oldest request that is out, as text. */
  get description(): string | undefined {
    const [pending] = this.#pending.values()
    return pending?.description
  }

  statement(statement: Statement, receiver: Receiver): Pending {
    const { bigInts, isAlone, isStream, operation, params, sql, way } = statement
    const encoded = encodeParams(params)
    const pending: Pending = {
      receiver,
      description: sql,
      // Its number is decided when it is sent. If it was cancelled before that, the thread would never get the text.
      make: (id) => {
        const found = this.#texts.read(sql)
        pending.known = found?.known
        const number = found?.known.number
        const text = found === undefined || found.isNew ? sql : undefined
        return {
          kind: "statement",
          id,
          operation,
          way,
          number,
          sql: text,
          params: encoded,
          bigInts,
          isAlone,
          isStream
        }
      },
      known: undefined,
      id: undefined,
      columns: [],
      isCancelled: false
    }
    if (typeof sql === "string") this.#begin(pending)
    else receiver.failed(notText(operation, sql), false)
    return pending
  }

  control<Name extends ControlName>(name: Name, params: Parameters<Controls[Name]>, receiver: Receiver): Pending {
    const pending: Pending = {
      receiver,
      description: name,
      make: (id) => ({ kind: "control", id, name, params }),
      known: undefined,
      id: undefined,
      columns: [],
      isCancelled: false
    }
    this.#begin(pending)
    return pending
  }

  /** Allows more chunks of rows. */
  credit({ id }: Pending, chunks: number): void {
    if (id !== undefined && this.#pending.has(id)) this.#send({ kind: "credit", id, chunks })
  }

  /**
   * Cancels a request. Returns whether it was in time: then nothing of it is stored, and `cancelled` or `failed` follows when
   * the thread has noticed. Otherwise its answer follows.
   */
  cancel(pending: Pending): boolean {
    const { id } = pending
    if (pending.isCancelled) return true
    if (id === undefined) {
      const at = this.#waiting.indexOf(pending)
      if (at < 0) return false
      this.#waiting.splice(at, 1)
      pending.isCancelled = true
      pending.receiver.cancelled()
      return true
    }
    if (this.#pending.get(id) !== pending || !this.#words.cancel(id)) return false
    pending.isCancelled = true
    this.#send({ kind: "cancel", id })
    return true
  }

  /** Cancels all requests that can be cancelled still. */
  cancelAll(): void {
    for (const pending of [...this.#waiting, ...this.#pending.values()]) this.cancel(pending)
  }

  /** Calls a function as soon as nothing is out: at once, or after the last answer. Returns a function that takes it back. */
  whenIdle(f: () => void): () => void {
    if (this.size === 0) f()
    else this.#onIdle.push(f)
    return () => {
      this.#onIdle = this.#onIdle.filter((other) => other !== f)
    }
  }

  /** Handles the answers of one message. */
  receive({ answers, state }: Answers): void {
    if (this.#death !== undefined) return
    this.#state = state
    for (const answer of answers) this.#receive(answer)
    this.#idle()
  }

  /** The thread has ended: so do all requests. */
  died(death: Failure): void {
    if (this.#death !== undefined) return
    this.#death = death
    this.#state = { isUsable: false, needsReset: false, isTransaction: false, isPinning: false }
    const lost = [...this.#pending]
    this.#pending.clear()
    for (const pending of this.#waiting.splice(0)) pending.receiver.failed(death, false)
    for (const [id, { isCancelled, receiver }] of lost) {
      if (isCancelled) receiver.cancelled()
      else receiver.failed(death, this.#words.isCommitting(id))
    }
    this.#idle()
  }

  #idle(): void {
    if (this.size > 0) return
    if (this.#death === undefined) this.#port.busy(false)
    for (const f of this.#onIdle.splice(0)) f()
  }

  #begin(pending: Pending): void {
    if (this.#death !== undefined) return pending.receiver.failed(this.#death, false)
    const id = this.#free.pop()
    if (id === undefined) this.#waiting.push(pending)
    else {
      if (this.#pending.size === 0) this.#port.busy(true)
      this.#assign(pending, id)
    }
  }

  #assign(pending: Pending, id: number): void {
    pending.id = id
    this.#words.begin(id)
    this.#pending.set(id, pending)
    this.#send(pending.make(id))
  }

  #send(request: Request): void {
    this.#outbox.push(request)
    if (this.#isFlushing) return
    this.#isFlushing = true
    queueMicrotask(this.#flush)
  }

  readonly #flush = (): void => {
    this.#isFlushing = false
    const requests = this.#outbox
    this.#outbox = []
    if (this.#death !== undefined) return
    const numbers = this.#texts.takeForgotten()
    if (numbers.length > 0) requests.push({ kind: "forget", numbers })
    this.#port.send(requests)
  }

  #receive(answer: Answer): void {
    const { id } = answer
    const pending = this.#pending.get(id)
    // The thread has ended meanwhile.
    if (pending === undefined) return
    const { receiver } = pending
    if (answer.kind === "rows") {
      this.#rows(pending, answer.rows, answer.columns)
      if (!answer.isLast) return
      this.#done(id)
      if (pending.isCancelled) receiver.cancelled()
      else receiver.ended(undefined)
      return
    }
    this.#done(id)
    switch (answer.kind) {
      case "value":
        return pending.isCancelled ? receiver.cancelled() : receiver.ended(answer.value)
      case "failed":
        return pending.isCancelled ? receiver.cancelled() : receiver.failed(decodeFailure(answer.failure), false)
      case "cancelled":
        return receiver.cancelled()
    }
  }

  #rows(
    pending: Pending,
    rows: ReadonlyArray<ReadonlyArray<unknown>>,
    columns: ReadonlyArray<string> | undefined
  ): void {
    const { known } = pending
    if (columns !== undefined) {
      pending.columns = columns
      if (known !== undefined) known.columns = columns
    } else if (known !== undefined) pending.columns = known.columns!
    if (!pending.isCancelled && rows.length > 0) pending.receiver.rows(rows, pending.columns)
  }

  /** A number is free again, for the request that waits longest. */
  #done(id: number): void {
    this.#pending.delete(id)
    const next = this.#waiting.shift()
    if (next === undefined) this.#free.push(id)
    else this.#assign(next, id)
  }
}

/** The chunks that a receiver takes before it allows more. */
export const chunksPerCredit = Math.max(1, Math.floor(chunksAhead / 2))

/** Makes objects without a prototype from rows. Of several columns with one name, the last one counts. */
export const toObjects = (
  rows: ReadonlyArray<ReadonlyArray<unknown>>,
  columns: ReadonlyArray<string>
): Array<Record<string, unknown>> =>
  rows.map((row) => {
    const object = Object.create(null) as Record<string, unknown>
    for (let at = 0; at < columns.length; at++) object[columns[at]!] = row[at]
    return object
  })
