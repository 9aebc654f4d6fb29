/**
 * The side of the thread: runs the requests of one connection, one after the other.
 *
 * Rows are read step by step, and never collected here: a thread that runs out of memory ends the whole process on Node 24.
 * A statement that has to wait until its rows are taken keeps the requests behind it waiting, unless it is a stream.
 */
import type { Params } from "../connection/binding.ts"
import type { Cursor } from "../connection/cursor.ts"
import type { Handle } from "../connection/handle.ts"
import type { Prepared, StatementEffect } from "../connection/preparedStatements.ts"
import { isExpected } from "../connection/units.ts"
import { codeOfThrown, Failure, fromSqlite } from "../failures.ts"
import { Controller } from "./controller.ts"
import { encodeFailure } from "./failureData.ts"
import { decodeParams } from "./params.ts"
import {
  type Answer,
  type Answers,
  bytesOf,
  bytesPerChunk,
  chunksAhead,
  type ControlRequest,
  type Request,
  rowsPerChunk,
  slowMillis,
  type State,
  type StatementRequest,
  type TextNumber
} from "./protocol.ts"
import type { Words } from "./word.ts"

/** A statement that was resolved when it arrived: later requests may forget its number. */
interface Task {
  readonly request: StatementRequest | ControlRequest
  readonly sql: string
}

/** A statement whose rows are read. */
interface Reading {
  readonly request: StatementRequest
  readonly cursor: Cursor
  /** Whether it runs in a transaction of its own, which is committed after the last row. */
  readonly isUnit: boolean
  credit: number
  /** How long it has run before the present step. */
  spentMillis: number
}

export interface ServerOptions {
  readonly words: Words
  /** Opens the file. Called by the first request. */
  readonly open: (isFirst: boolean) => Handle
  readonly send: (answers: Answers) => void
  /** The time in milliseconds. */
  readonly now: () => number
  /** Whether the time of each request is told. */
  readonly isMeasured: boolean
  /** The connection was closed, and the answer was sent. */
  readonly onClose: () => void
}

export class Server {
  readonly #words: Words
  readonly #send: (answers: Answers) => void
  readonly #now: () => number
  readonly #onClose: () => void
  readonly #controller: Controller
  readonly #texts = new Map<TextNumber, string>()
  /** The names of columns that the other side knows, by the numbers of texts. */
  readonly #columns = new Map<TextNumber, ReadonlyArray<string>>()
  #tasks: Array<Task> = []
  /** The statement that waits for credit, and keeps all tasks waiting. */
  #waiting: Reading | undefined = undefined
  readonly #streams = new Map<number, Reading>()
  #answers: Array<Answer> = []
  #flushedAt = 0
  readonly #isMeasured: boolean
  /** When the present step of a request has begun, and how long its earlier steps took. */
  #enteredAt = 0
  #spentMillis = 0

  constructor({ isMeasured, now, onClose, open, send, words }: ServerOptions) {
    this.#words = words
    this.#send = send
    this.#now = now
    this.#isMeasured = isMeasured
    this.#onClose = onClose
    this.#controller = new Controller(open)
  }

  /** Handles the requests of one message. */
  receive(requests: ReadonlyArray<Request>): void {
    this.#flushedAt = this.#now()
    const ready: Array<Reading> = []
    for (const request of requests) {
      switch (request.kind) {
        case "statement":
          this.#tasks.push({ request, sql: this.#textOf(request) })
          break
        case "control":
          this.#tasks.push({ request, sql: "" })
          break
        case "credit":
        case "cancel": {
          const reading = this.#readingOf(request.id)
          if (reading === undefined) break
          if (request.kind === "credit") reading.credit += request.chunks
          if (!ready.includes(reading)) ready.push(reading)
          break
        }
        case "forget":
          for (const number of request.numbers) {
            this.#texts.delete(number)
            this.#columns.delete(number)
          }
      }
    }
    for (const reading of ready) {
      this.#enteredAt = this.#now()
      this.#spentMillis = reading.spentMillis
      this.#advance(reading)
    }
    this.#runTasks()
    this.#flush()
    if (this.#controller.isClosed) this.#onClose()
  }

  #readingOf(id: number): Reading | undefined {
    return this.#waiting?.request.id === id ? this.#waiting : this.#streams.get(id)
  }

  #textOf({ number, sql }: StatementRequest): string {
    if (sql === undefined) return this.#texts.get(number!)!
    if (number !== undefined) this.#texts.set(number, sql)
    return sql
  }

  #runTasks(): void {
    while (this.#waiting === undefined) {
      const tasks = this.#tasks
      if (tasks.length === 0) return
      this.#tasks = []
      for (let at = 0; at < tasks.length; at++) {
        this.#run(tasks[at]!)
        if (this.#waiting !== undefined) {
          this.#tasks = tasks.slice(at + 1).concat(this.#tasks)
          return
        }
      }
    }
  }

  #run({ request, sql }: Task): void {
    const { id } = request
    this.#enteredAt = this.#now()
    this.#spentMillis = 0
    if (this.#words.isCancelled(id)) return this.#answer({ kind: "cancelled", id })
    // What follows may take long, and answers must not wait for it.
    if (this.#answers.length > 0 && this.#enteredAt - this.#flushedAt > flushAfterMillis) this.#flush()
    try {
      if (request.kind === "control") this.#control(request)
      else if (request.way === "result") this.#result(request, sql)
      else this.#read(request, sql)
    } catch (thrown) {
      const operation = request.kind === "control" ? request.name : request.operation
      this.#answer({ kind: "failed", id, failure: encodeFailure(thrown, operation) })
    }
  }

  #control(request: ControlRequest): void {
    const { id } = request
    if (!this.#words.commit(id)) return this.#answer({ kind: "cancelled", id })
    this.#answer({ kind: "value", id, value: this.#controller.run(request) })
  }

  #result(request: StatementRequest, sql: string): void {
    const { bigInts, id, isAlone, operation } = request
    const { handle } = this.#controller
    const params = decodeParams(request.params) as Params | undefined
    const effect = this.#effectOf(request, sql)
    if (effect !== "stores") {
      if (!this.#mayBegin(id, effect)) return this.#answer({ kind: "cancelled", id })
      return this.#answer({ kind: "value", id, value: handle.run(operation, sql, params, bigInts, isAlone) })
    }
    this.#beginUnit(operation)
    let value: unknown
    try {
      value = handle.run(operation, sql, params, bigInts, isAlone)
    } catch (thrown) {
      return this.#failUnit(id, thrown, operation)
    }
    this.#endUnit(id, () => this.#answer({ kind: "value", id, value }), operation)
  }

  #read(request: StatementRequest, sql: string): void {
    const { bigInts, id, isAlone, isStream, operation, way } = request
    const { handle } = this.#controller
    if (way === "rowsOrResult" && this.#prepare(request, sql).statement.columns().length === 0) {
      return this.#result(request, sql)
    }
    const effect = this.#effectOf(request, sql)
    const isUnit = effect === "stores"
    if (!this.#mayBegin(id, effect)) return this.#answer({ kind: "cancelled", id })
    const params = decodeParams(request.params) as Params | undefined
    const cursor = handle.cursor(operation, sql, params, bigInts, isAlone, {
      arrays: true,
      which: isStream ? "fresh" : "get"
    })
    const reading: Reading = { request, cursor, isUnit, credit: chunksAhead, spentMillis: 0 }
    if (isUnit) {
      try {
        this.#beginUnit(operation)
      } catch (thrown) {
        cursor.close()
        throw thrown
      }
    }
    this.#advance(reading)
  }

  /**
   * The effect of a statement. One that stores something runs in a transaction of its own, so that it can be cancelled until
   * that commits. In a transaction of the caller, nothing is stored before that ends.
   */
  #effectOf(request: StatementRequest, sql: string): StatementEffect {
    const { handle } = this.#controller
    if (handle.settings.isReadOnly || handle.isTransaction(request.operation)) return "reads"
    return this.#prepare(request, sql).effect
  }

  /** The statement of a request, to look at it. It does not run yet. */
  #prepare({ isAlone, operation }: StatementRequest, sql: string): Prepared {
    const { handle } = this.#controller
    const prepared = handle.prepare(operation, sql, isAlone)
    handle.recorder.end()
    return prepared
  }

  /** Whether a statement may begin. A statement that cannot run in a transaction cannot be cancelled from now on. */
  #mayBegin(id: number, effect: StatementEffect): boolean {
    return effect === "other" ? this.#words.commit(id) : !this.#words.isCancelled(id)
  }

  /** Sends rows while there is credit. */
  #advance(reading: Reading): void {
    const { cursor, isUnit, request: { id, isStream, operation } } = reading
    try {
      if (this.#words.isCancelled(id)) return this.#stop(reading)
      while (reading.credit > 0) {
        const rows = this.#chunk(reading)
        if (this.#words.isCancelled(id)) return this.#stop(reading)
        if (!cursor.isOpen) return this.#last(reading, rows)
        reading.credit--
        this.#rows(reading, rows, false)
        this.#flush()
      }
      reading.spentMillis = this.#spent
      // A write that has not ended would make other statements a part of its transaction.
      if (isStream && !isUnit) this.#streams.set(id, reading)
      else this.#waiting = reading
    } catch (thrown) {
      this.#ended(reading)
      if (isUnit) this.#failUnit(id, thrown, operation)
      else this.#answer({ kind: "failed", id, failure: encodeFailure(thrown, operation) })
    }
  }

  #chunk({ cursor, request: { id } }: Reading): Array<ReadonlyArray<unknown>> {
    let bytes = 0
    return cursor.read(rowsPerChunk, (row) => {
      bytes += bytesOf(row as ReadonlyArray<unknown>)
      return bytes >= bytesPerChunk || this.#words.isCancelled(id)
    }) as Array<ReadonlyArray<unknown>>
  }

  #last(reading: Reading, rows: Array<ReadonlyArray<unknown>>): void {
    // An error behind some rows is thrown by the next read.
    if (rows.length > 0 && reading.cursor.hasFailed) {
      this.#rows(reading, rows, false)
      reading.cursor.read(1)
    }
    this.#ended(reading)
    const { isUnit, request: { id, operation } } = reading
    if (isUnit) this.#endUnit(id, () => this.#rows(reading, rows, true), operation)
    else this.#rows(reading, rows, true)
  }

  /** Ends a statement that was cancelled. */
  #stop(reading: Reading): void {
    const { cursor, isUnit, request: { id } } = reading
    this.#ended(reading)
    cursor.close()
    if (isUnit) this.#undo()
    this.#answer({ kind: "cancelled", id })
  }

  #ended(reading: Reading): void {
    if (this.#waiting === reading) this.#waiting = undefined
    this.#streams.delete(reading.request.id)
  }

  #rows({ cursor, request: { id, number } }: Reading, rows: Array<ReadonlyArray<unknown>>, isLast: boolean): void {
    const names = cursor.columns
    const isKnown = number !== undefined && this.#columns.get(number) === names
    if (number !== undefined) this.#columns.set(number, names)
    this.#answer({ kind: "rows", id, rows, columns: isKnown ? undefined : names, isLast })
  }

  #beginUnit(operation: string): void {
    try {
      this.#controller.handle.units.begin("alone")
    } catch (thrown) {
      throw asOf(thrown, operation)
    }
  }

  /** Commits the transaction of one statement, unless it was cancelled, and then answers. */
  #endUnit(id: number, succeed: () => void, operation: string): void {
    const { units } = this.#controller.handle
    if (!this.#words.commit(id)) {
      this.#undo()
      return this.#answer({ kind: "cancelled", id })
    }
    try {
      units.commit()
    } catch (thrown) {
      this.#undo()
      return this.#answer({ kind: "failed", id, failure: encodeFailure(asOf(thrown, operation), operation) })
    }
    succeed()
  }

  /**
   * A statement in a transaction of its own has failed. What SQLite expected leaves what the statement would have left alone:
   * nothing, or with `or fail` a part. Any other failure would have left nothing.
   */
  #failUnit(id: number, thrown: unknown, operation: string): void {
    const { units } = this.#controller.handle
    const code = thrown instanceof Failure ? codeOfThrown(thrown.cause) : undefined
    const fail = () => this.#answer({ kind: "failed", id, failure: encodeFailure(thrown, operation) })
    if (code !== undefined && isExpected(code) && units.isIntact) return this.#endUnit(id, fail, operation)
    this.#undo()
    fail()
  }

  #undo(): void {
    try {
      this.#controller.handle.units.rollback()
    } catch {
      // The transaction is still open, so the connection is reset before it is lent again.
    }
  }

  #answer(answer: Answer): void {
    this.#answers.push(answer.kind === "rows" && !answer.isLast ? answer : this.#timed(answer))
  }

  #timed(answer: Answer): Answer {
    const tookMillis = this.#spent
    return tookMillis >= slowMillis || this.#isMeasured ? { ...answer, tookMillis } : answer
  }

  /** How long the present request has run. */
  get #spent(): number {
    return this.#spentMillis + this.#now() - this.#enteredAt
  }

  #flush(): void {
    this.#flushedAt = this.#now()
    if (this.#answers.length === 0) return
    const answers = this.#answers
    this.#answers = []
    this.#send({ answers, state: this.#state })
  }

  get #state(): State {
    const { state } = this.#controller
    // A query that waits for credit is at work. It is no cursor that its caller has left open.
    return this.#waiting === undefined ? state : { ...state, isPinning: state.isTransaction || this.#streams.size > 0 }
  }
}

/** A failure of the transaction around a statement, as the statement alone would have failed. */
const asOf = (thrown: unknown, operation: string): unknown =>
  thrown instanceof Failure && thrown.kind === "code" ? fromSqlite(thrown.cause, operation) : thrown

/** Answers that are ready do not wait longer than this for a request that runs after them. */
const flushAfterMillis = 0.5
