/**
 * The side of the caller: sends the requests of one connection to its thread, and hands out the answers.
 *
 * It is synchronous and knows no fibers: each request has a receiver, whose functions are called with the answers.
 */
import { Recorder } from "../../../internal/pool/recorder.ts"
import { notText } from "../connection/preparedStatements.ts"
import { type Failure, timedOut } from "../failures.ts"
import { Credits } from "./credits.ts"
import { decodeFailure } from "./failureData.ts"
import { encodeParams } from "./params.ts"
import {
  type CommitListener,
  mayHaveStored,
  Outstanding,
  Pending,
  type Port,
  type Receiver,
  requestOf,
  type Statement,
  tell,
  type Timeout
} from "./pending.ts"
import {
  type Answer,
  type Answers,
  type ControlName,
  type Controls,
  type LeaveRequest,
  mostRequests,
  type Request,
  type State
} from "./protocol.ts"
import { Texts } from "./texts.ts"
import type { Words } from "./word.ts"

export class Host {
  readonly #port: Port
  readonly #words: Words
  readonly #texts: Texts
  readonly #recorder: Recorder
  readonly #free: Array<number> = []
  readonly #pending = new Outstanding()
  /** The requests that wait for a number. */
  readonly #waiting: Array<Pending> = []
  #outbox: Array<Request> = []
  #isFlushing = false
  readonly #credits = new Credits((pending, chunks) => {
    const { id } = pending
    if (id !== undefined && this.#pending.get(id) === pending) this.#send({ kind: "credit", id, chunks })
  })
  #listener: CommitListener | undefined = undefined
  #state: State = { isUsable: true, needsReset: false, isTransaction: false, isPinning: false }
  #death: Failure | undefined
  /** Called once when nothing is out any more. */
  #onIdle: Array<() => void> = []

  /** Not set: statements may run for ever. */
  readonly #timeout: Timeout | undefined

  constructor(port: Port, words: Words, textsToKeep: number, recorder = Recorder.unread(), timeout?: Timeout) {
    this.#timeout = timeout
    this.#recorder = recorder
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

  /** Whether its connection may pin a state of the database. */
  get mayPin(): boolean {
    return this.#state.isPinning || this.size > 0
  }

  /** The oldest request that is out, as text. */
  get description(): string | undefined {
    return this.#pending.oldest?.description
  }

  /**
   * Whether something still runs for a caller that has gone. Requests ahead of a lease do not count, unless the oldest of all
   * was cancelled: that may be the one at which the thread is now. What was moved was queued, and is skipped.
   */
  get isUnfinished(): boolean {
    if (this.size === 0) return false
    const { oldest } = this.#pending
    if (oldest?.isCancelled === true && !oldest.isMoved) return true
    for (const { isAhead } of this.#waiting) if (!isAhead) return true
    return this.#pending.find(({ isAhead }) => !isAhead) !== undefined
  }

  statement(statement: Statement, receiver: Receiver): Pending {
    const { isAhead = false, isStream, mayStore = false, operation, params, sql } = statement
    const encoded = encodeParams(params)
    const pending = new Pending({
      receiver,
      operation,
      description: sql,
      mayStore,
      // Its number is decided when it is sent. If it was cancelled before that, the thread would never get the text.
      make: (id) => {
        const found = this.#texts.read(sql)
        pending.known = found?.known
        return requestOf(statement, id, encoded, found)
      },
      isAhead,
      // A stream runs as long as its reader likes.
      isTimed: !isStream
    })
    if (typeof sql === "string") {
      if (!isAhead) pending.run = this.#recorder.start(sql)
      this.#begin(pending)
    } else receiver.failed(notText(operation, sql), false, false)
    return pending
  }

  control<Name extends ControlName>(
    name: Name,
    params: Parameters<Controls[Name]>,
    receiver: Receiver,
    mayStore = false
  ): Pending {
    const pending = new Pending({
      receiver,
      operation: name,
      description: name,
      mayStore,
      make: (id) => ({ kind: "control", id, name, params }),
      isAhead: false,
      isTimed: false
    })
    this.#begin(pending)
    return pending
  }

  /** Has the thread report commits, or none any more. */
  watch(listener: CommitListener | undefined): void {
    this.#listener = listener
    this.#send({ kind: "watch", isOn: listener !== undefined })
  }

  /** Asks the thread whether other connections have committed. It reports that only if they have. */
  ask(): void {
    this.#send({ kind: "ask" })
  }

  /**
   * Has the thread close the file, because another one is at its path, and end: see `LeaveRequest`. It is the last message.
   * Nobody waits for the end, so this side has to be told that it is over.
   */
  leave(log: LeaveRequest["log"]): void {
    this.#port.send([{ kind: "leave", log }])
  }

  /** Allows more chunks of rows. */
  credit(pending: Pending, chunks: number): void {
    this.#credits.give(pending, chunks)
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
      this.#record(pending, undefined)
      pending.receiver.cancelled()
      return true
    }
    if (this.#pending.get(id) !== pending || !this.#words.cancel(id)) return false
    pending.isCancelled = true
    this.#send({ kind: "cancel", id })
    return true
  }

  /** Ends a stream whose reader wants no more rows. What it has written counts, unless it was cancelled. An answer follows. */
  finish({ id }: Pending): void {
    if (id !== undefined && this.#pending.get(id) !== undefined) this.#send({ kind: "finish", id })
  }

  /** Cancels a request whose caller sends it elsewhere. */
  move(pending: Pending): boolean {
    pending.isMoved = true
    return this.cancel(pending)
  }

  /** Cancels all requests that can be cancelled still. */
  cancelAll(): void {
    for (const pending of [...this.#waiting, ...this.#pending]) this.cancel(pending)
  }

  /**
   * Fails the requests whose callers still wait, but not those of callers without a lease. What is being committed goes on.
   */
  failAll(errorOf: (operation: string) => unknown): void {
    if (this.size === 0) return
    for (const pending of [...this.#waiting, ...this.#pending]) {
      if (!pending.isAhead) this.fail(pending, errorOf(pending.operation))
    }
  }

  /** Cancels a request whose caller still waits, and fails it. Returns whether that was in time: if not, its answer follows. */
  fail(pending: Pending, thrown: unknown): boolean {
    if (pending.isCancelled || !this.cancel(pending)) return false
    pending.receiver.failed(thrown, false, false)
    return true
  }

  /** The caller of a request has a lease of the connection now. */
  own(pending: Pending): void {
    if (!pending.isAhead) return
    pending.isAhead = false
    if (!pending.isCancelled) pending.run = this.#recorder.start(pending.description)
  }

  /** Calls a function as soon as nothing is out: at once, or after the last answer. Returns a function that takes it back. */
  whenIdle(f: () => void): () => void {
    if (this.size === 0) f()
    else this.#onIdle.push(f)
    return () => {
      this.#onIdle = this.#onIdle.filter((other) => other !== f)
    }
  }

  /** Fails the statement that runs, if it ran for too long. */
  checkTimeout(): void {
    const first = this.#first
    if (first === undefined || this.#timeout === undefined) return
    const { millis, now } = this.#timeout
    if (now() - first.firstAt! >= millis) this.fail(first, timedOut(first.operation, millis))
    else this.#timeout.set(first.firstAt! + millis)
  }

  /** The statement that runs, if its time is limited. Streams run beside it. */
  get #first(): Pending | undefined {
    return this.#pending.find(({ isTimed }) => isTimed)
  }

  /** Watches the statement that is the first now. */
  #watchFirst(timeout: Timeout): void {
    const first = this.#first
    if (first === undefined || first.firstAt !== undefined) return
    first.firstAt = timeout.now()
    timeout.set(first.firstAt + timeout.millis)
  }

  /** Handles the answers of one message. */
  receive({ answers, groups, reported, state }: Answers): void {
    if (this.#death !== undefined) return
    this.#state = state
    if (this.#listener !== undefined) tell(this.#listener, reported, () => mayHaveStored(answers, this.#pending))
    this.#credits.during(() => {
      for (const answer of answers) this.#receive(answer)
    })
    if (groups !== undefined) { for (const group of groups) this.#recorder.grouped(group) }
    this.#idle()
  }

  /** The thread has ended: so do all requests. */
  died(death: Failure): void {
    if (this.#death !== undefined) return
    this.#death = death
    this.#state = { isUsable: false, needsReset: false, isTransaction: false, isPinning: false }
    const lost = [...this.#pending]
    for (const { id } of lost) this.#pending.remove(id!)
    for (const pending of this.#waiting.splice(0)) {
      this.#record(pending, undefined)
      pending.receiver.failed(death, false, true)
    }
    for (const pending of lost) {
      const { id, isCancelled, mayStore, receiver } = pending
      this.#record(pending, undefined)
      if (isCancelled) receiver.cancelled()
      else receiver.failed(death, mayStore && this.#words.isCommitting(id!), true)
    }
    this.#idle()
  }

  #idle(): void {
    if (this.size > 0) return
    if (this.#death === undefined) this.#port.busy(false)
    for (const f of this.#onIdle.splice(0)) f()
  }

  #begin(pending: Pending): void {
    if (this.#death !== undefined) {
      this.#record(pending, undefined)
      return pending.receiver.failed(this.#death, false, true)
    }
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
    this.#pending.add(id, pending)
    if (this.#timeout !== undefined) this.#watchFirst(this.#timeout)
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
      this.#record(pending, answer.tookMillis)
      if (pending.isCancelled) receiver.cancelled()
      else receiver.ended(undefined, answer.tookMillis)
      return
    }
    this.#done(id)
    this.#record(pending, answer.tookMillis)
    switch (answer.kind) {
      case "value":
        return pending.isCancelled ? receiver.cancelled() : receiver.ended(answer.value, answer.tookMillis)
      case "failed":
        return pending.isCancelled ? receiver.cancelled() : receiver.failed(decodeFailure(answer.failure), false, false)
      case "cancelled":
        return receiver.cancelled()
    }
  }

  /** Notes the end of a statement, and how long the thread has worked for it, if that is known. */
  #record(pending: Pending, tookMillis: number | undefined): void {
    const { run } = pending
    if (run !== undefined) {
      if (tookMillis !== undefined) run.spentMillis = tookMillis
      this.#recorder.finish(run)
    } else if (pending.isAhead && tookMillis !== undefined) this.#recorder.ran(pending.description, tookMillis)
  }

  #rows(
    pending: Pending,
    rows: ReadonlyArray<ReadonlyArray<unknown>>,
    columns: ReadonlyArray<string> | undefined
  ): void {
    const { known } = pending
    const names = columns ?? known?.columns
    if (names !== undefined) pending.columns = names
    if (known !== undefined) known.columns = names
    if (!pending.isCancelled && rows.length > 0) pending.receiver.rows(rows, pending.columns)
  }

  /** A number is free again, for the request that waits longest. */
  #done(id: number): void {
    this.#pending.remove(id)
    const next = this.#waiting.shift()
    if (next === undefined) this.#free.push(id)
    else this.#assign(next, id)
    if (this.#timeout !== undefined) this.#watchFirst(this.#timeout)
  }
}
