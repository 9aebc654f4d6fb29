/**
 * The side of the thread: runs the requests of one connection, one after the other.
 *
 * Rows are read step by step, and never collected here: a thread that runs out of memory ends the whole process on Node 24.
 * A statement that has to wait until its rows are taken keeps the requests behind it waiting, unless it is a stream.
 */
import type { Params } from "../connection/binding.ts"
import type { Cursor } from "../connection/cursor.ts"
import type { Handle } from "../connection/handle.ts"
import { Failure } from "../failures.ts"
import { circumstancesOf, wantsRows } from "./circumstances.ts"
import { Controller } from "./controller.ts"
import { encodeFailure } from "./failureData.ts"
import { apart, type Member, together } from "./group.ts"
import { KnownTexts } from "./knownTexts.ts"
import { Outbox, type OutboxOptions } from "./outbox.ts"
import { decodeParams } from "./params.ts"
import {
  type Answer,
  bytesOf,
  bytesPerChunk,
  chunksAhead,
  type ControlRequest,
  longestSharedMillis,
  type Request,
  rowsPerChunk,
  type State,
  type StatementRequest
} from "./protocol.ts"
import * as Scripts from "./scripts.ts"
import { sharedFrom, type SharedTask, type Task } from "./tasks.ts"
import * as Unit from "./unit.ts"
import type { Words } from "./word.ts"

/** A statement whose rows are read. */
interface Reading {
  readonly request: StatementRequest
  readonly cursor: Cursor
  readonly unit: Unit.Unit
  credit: number
  /** How long it has run before the present step. */
  spentMillis: number
  /** Whether its reader wants no more rows. */
  isFinished: boolean
}

export interface ServerOptions extends OutboxOptions {
  readonly words: Words
  /** Opens the file. Called by the first request. */
  readonly open: (isFirst: boolean) => Handle
  /** The connection was closed, and the answer was sent. */
  readonly onClose: () => void
}

export class Server {
  readonly #words: Words
  readonly #outbox: Outbox
  readonly #now: () => number
  readonly #onClose: () => void
  readonly #controller: Controller
  readonly #known = new KnownTexts()
  #tasks: Array<Task> = []
  /** The statement that waits for credit, and keeps all tasks waiting. */
  #waiting: Reading | undefined = undefined
  readonly #streams = new Map<number, Reading>()
  /** The number of next tasks that run alone, because they were in a group that was undone. */
  #apart = 0

  constructor(options: ServerOptions) {
    this.#words = options.words
    this.#outbox = new Outbox(options)
    this.#now = options.now
    this.#onClose = options.onClose
    this.#controller = new Controller(options.open)
  }

  /** Handles the requests of one message. */
  receive(requests: ReadonlyArray<Request>): void {
    this.#outbox.begin()
    const ready: Array<Reading> = []
    for (const request of requests) {
      switch (request.kind) {
        case "statement":
          this.#tasks.push({
            request,
            sql: this.#known.textOf(request),
            params: decodeParams(request.params) as Params | undefined
          })
          break
        case "control":
          this.#tasks.push({ request, sql: "", params: undefined })
          break
        case "credit":
        case "cancel":
        case "finish": {
          const reading = this.#readingOf(request.id)
          if (reading === undefined) break
          if (request.kind === "credit") reading.credit += request.chunks
          else if (request.kind === "finish") reading.isFinished = true
          if (!ready.includes(reading)) ready.push(reading)
          break
        }
        case "watch":
          this.#outbox.reports.watch(request.isOn, this.#controller.handle.observed)
          break
        case "ask":
          break
        case "leave":
          this.#controller.leave(request.log)
          return this.#onClose()
        case "forget":
          this.#known.forget(request.numbers)
      }
    }
    for (const reading of ready) {
      this.#outbox.enter(reading.spentMillis)
      this.#advance(reading)
    }
    this.#runTasks()
    this.#flush()
    if (this.#controller.isClosed) this.#onClose()
  }

  #readingOf(id: number): Reading | undefined {
    return this.#waiting?.request.id === id ? this.#waiting : this.#streams.get(id)
  }

  #runTasks(): void {
    while (this.#waiting === undefined) {
      const tasks = this.#tasks
      if (tasks.length === 0) return
      this.#tasks = []
      for (let at = 0; at < tasks.length; at++) {
        const shared = this.#apart > 0 ? [] : sharedFrom(tasks, at)
        if (shared.length > 1) {
          at += this.#together(shared) - 1
          continue
        }
        if (this.#apart > 0) this.#apart--
        this.#run(tasks[at]!)
        if (this.#waiting !== undefined) {
          this.#tasks = tasks.slice(at + 1).concat(this.#tasks)
          return
        }
      }
    }
  }

  /** Runs statements with one commit, as far as possible. Returns the number of those that were answered. */
  #together(tasks: ReadonlyArray<SharedTask>): number {
    const members = tasks.map((task) => this.#member(task))
    const startedAt = this.#now()
    const isTimeUp = () => this.#now() - startedAt >= longestSharedMillis
    const outcome = together(this.#controller.handle, this.#words, members, isTimeUp)
    this.#outbox.grouped(outcome, members.length, this.#now() - startedAt)
    switch (outcome.tag) {
      case "done":
        for (const answer of outcome.answers) answer()
        return outcome.answers.length
      case "alone":
        this.#apart = members.length
        return 0
      case "failed":
        for (const { fail } of members) fail(outcome.thrown)
        return members.length
    }
  }

  #member({ params, request, sql }: SharedTask): Member {
    const { bigInts, id, isAlone, operation } = request
    const { handle } = this.#controller
    /** An answer after the commit, with the time that its statement took. */
    const later = (answer: () => void) => {
      const { spentMillis } = this.#outbox
      return () => {
        this.#outbox.enter(spentMillis)
        answer()
      }
    }
    return {
      id,
      run: () => {
        this.#outbox.enter(0)
        if (!wantsRows(handle, request, sql)) {
          const value = handle.run(operation, sql, params, bigInts, isAlone)
          return later(() => this.#answer({ kind: "value", id, value }))
        }
        const cursor = handle.cursor(operation, sql, params, bigInts, isAlone, { arrays: true, which: "get" })
        const reading: Reading = { request, cursor, unit: "none", credit: 0, spentMillis: 0, isFinished: false }
        try {
          const rows = this.#chunk(reading)
          // An error behind some rows is thrown by the next read.
          if (cursor.hasFailed) cursor.read(1)
          // Its rows need several messages.
          if (cursor.isOpen) throw apart
          return later(() => this.#rows(reading, rows, true))
        } finally {
          cursor.close()
        }
      },
      fail: (thrown) => this.#fail(id, thrown, operation)
    }
  }

  #run({ params, request, sql }: Task): void {
    const { id } = request
    this.#outbox.enter(0)
    if (this.#words.isCancelled(id)) return this.#answer({ kind: "cancelled", id })
    // What follows may take long, and answers must not wait for it.
    if (this.#outbox.isDue) this.#flush()
    try {
      if (request.kind === "control") this.#control(request)
      else if (wantsRows(this.#controller.handle, request, sql)) this.#read(request, sql, params)
      else this.#result(request, sql, params)
    } catch (thrown) {
      const operation = request.kind === "control" ? request.name : request.operation
      this.#fail(id, thrown, operation)
    }
  }

  #control(request: ControlRequest): void {
    const { id, name } = request
    if (Scripts.isUndoable(() => this.#controller.handle, request)) {
      const value = Scripts.run(this.#controller, this.#words, request)
      return this.#answer(value === undefined ? { kind: "cancelled", id } : { kind: "value", id, value })
    }
    // The rows of a batch are undone with their transaction, so its caller need not wait for them.
    if (!this.#mayBegin(id, name === "batch")) return this.#answer({ kind: "cancelled", id })
    this.#answer({ kind: "value", id, value: this.#controller.run(request) })
  }

  #result(request: StatementRequest, sql: string, params: Params | undefined): void {
    const { bigInts, id, isAlone, operation } = request
    const { handle } = this.#controller
    const { isCancellable, unit } = circumstancesOf(handle, request, sql)
    if (!this.#mayBegin(id, isCancellable)) return this.#answer({ kind: "cancelled", id })
    Unit.begin(handle, unit, operation)
    let value: unknown
    try {
      value = handle.run(operation, sql, params, bigInts, isAlone)
    } catch (thrown) {
      return this.#failUnit(request, unit, thrown)
    }
    this.#endUnit(request, unit, () => this.#answer({ kind: "value", id, value }))
  }

  #read(request: StatementRequest, sql: string, params: Params | undefined): void {
    const { bigInts, id, isAlone, isStream, operation } = request
    const { handle } = this.#controller
    const { isCancellable, prepared, unit } = circumstancesOf(handle, request, sql)
    if (!this.#mayBegin(id, isCancellable)) return this.#answer({ kind: "cancelled", id })
    // In a transaction, a statement may run to its end as its cursor is opened: see `whole.ts`. It is undone with its savepoint.
    const isInside = unit === "savepoint"
    if (isInside) Unit.begin(handle, unit, operation)
    let cursor: Cursor
    try {
      cursor = handle.cursor(operation, sql, params, bigInts, isAlone, {
        arrays: true,
        which: isStream ? "fresh" : "get"
      })
    } catch (thrown) {
      return this.#failUnit(request, isInside ? unit : "none", thrown)
    }
    const reading: Reading = { request, cursor, unit, credit: chunksAhead, spentMillis: 0, isFinished: false }
    if (unit === "transaction") {
      try {
        Unit.begin(handle, unit, operation)
        // Its first step may compile it again, and notes its tables.
        handle.observed.runs(prepared!.tables)
      } catch (thrown) {
        cursor.close()
        throw thrown
      }
    }
    this.#advance(reading)
  }

  /** Whether a statement may begin. Unless it is cancellable, it cannot be cancelled from now on. */
  #mayBegin(id: number, isCancellable: boolean): boolean {
    return isCancellable ? !this.#words.isCancelled(id) : this.#words.commit(id)
  }

  /** Sends rows while there is credit. */
  #advance(reading: Reading): void {
    const { cursor, request, unit } = reading
    const { id, isStream } = request
    try {
      if (this.#words.isCancelled(id)) return this.#stop(reading)
      if (reading.isFinished) return this.#finish(reading)
      while (reading.credit > 0) {
        const rows = this.#chunk(reading)
        if (this.#words.isCancelled(id)) return this.#stop(reading)
        if (!cursor.isOpen) return this.#last(reading, rows)
        reading.credit--
        this.#rows(reading, rows, false)
        this.#flush()
      }
      reading.spentMillis = this.#outbox.spentMillis
      // A write that has not ended would make other statements a part of its transaction.
      if (isStream && unit === "none") this.#streams.set(id, reading)
      else this.#waiting = reading
    } catch (thrown) {
      this.#ended(reading)
      this.#failUnit(request, unit, thrown)
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
    this.#endUnit(reading.request, reading.unit, () => this.#rows(reading, rows, true))
  }

  /** Ends a statement whose reader wants no more rows. SQLite has written before it returned the first one. */
  #finish(reading: Reading): void {
    this.#ended(reading)
    reading.cursor.close()
    this.#endUnit(reading.request, reading.unit, () => this.#rows(reading, [], true))
  }

  /** Ends a statement that was cancelled. */
  #stop(reading: Reading): void {
    const { cursor, request: { id }, unit } = reading
    this.#ended(reading)
    cursor.close()
    Unit.undo(this.#controller.handle, unit)
    this.#answer({ kind: "cancelled", id })
  }

  #ended(reading: Reading): void {
    if (this.#waiting === reading) this.#waiting = undefined
    this.#streams.delete(reading.request.id)
  }

  #rows({ cursor, request: { id, number } }: Reading, rows: Array<ReadonlyArray<unknown>>, isLast: boolean): void {
    this.#answer({ kind: "rows", id, rows, columns: this.#known.columnsFor(number, cursor.columns), isLast })
  }

  /** Ends the unit of a statement, unless the statement was cancelled, and then answers. */
  #endUnit({ id, operation }: StatementRequest, unit: Unit.Unit, answer: () => void): void {
    const { handle } = this.#controller
    if (unit !== "none") {
      if (!this.#words.commit(id)) {
        Unit.undo(handle, unit)
        return this.#answer({ kind: "cancelled", id })
      }
      try {
        Unit.end(handle, unit, operation)
      } catch (thrown) {
        return this.#fail(id, thrown, operation)
      }
    }
    answer()
  }

  #failUnit(request: StatementRequest, unit: Unit.Unit, thrown: unknown): void {
    const { handle } = this.#controller
    const { id, operation } = request
    const fail = () => this.#fail(id, thrown, operation)
    if (Unit.keepsPart(handle, unit, thrown)) return this.#endUnit(request, unit, fail)
    Unit.undo(handle, unit)
    fail()
  }

  #fail(id: number, thrown: unknown, operation: string): void {
    // A defect. Nobody knows what it has left. While a file is opened, errors of Node are thrown as they are.
    if (!(thrown instanceof Failure) && operation !== "open" && operation !== "endOpening") this.#controller.doubt()
    this.#answer({ kind: "failed", id, failure: encodeFailure(thrown, operation) })
  }

  #answer(answer: Answer): void {
    this.#outbox.answer(answer)
  }

  #flush(): void {
    this.#outbox.flush(() => this.#state)
  }

  get #state(): State {
    const { state } = this.#controller
    // A query that waits for credit is at work. It is no cursor that its caller has left open.
    return this.#waiting === undefined ? state : { ...state, isPinning: state.isTransaction || this.#streams.size > 0 }
  }
}
