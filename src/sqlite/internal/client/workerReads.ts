/** Statements of `sql` that read, on readers in threads. */
import { Effect, Exit, type Fiber } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Door from "../../../internal/pool/door.ts"
import type { Answer, Member, Pipeline, Sent } from "../../../internal/pool/pipeline.ts"
import type { LeaseExpiredError, PoolError } from "../../../PoolError.ts"
import type { Params } from "../contract/values.ts"
import { exitOf } from "../errors.ts"
import type { WorkerPool } from "../file/sides.ts"
import type { Host } from "../worker/host.ts"
import type { Pending, Receiver } from "../worker/pending.ts"
import type { Way as WorkerWay } from "../worker/protocol.ts"
import { toObjects } from "../worker/rows.ts"
import type { WorkerLeased } from "../worker/workerConnection.ts"
import { bigIntsOf, type Query, type Results, type Way } from "./targets.ts"

type Rows = ReadonlyArray<ReadonlyArray<unknown>>

/** The names of the operations, as in errors, and what is asked of the thread. */
export const ways: { readonly [W in Way]: { readonly operation: string; readonly way: WorkerWay } } = {
  objects: { operation: "execute", way: "rows" },
  arrays: { operation: "executeValues", way: "rows" },
  raw: { operation: "executeRaw", way: "rowsOrResult" }
}

/** Collects the rows of a statement, in the form that was asked for. */
export class Collected<W extends Way> {
  readonly #asArrays: boolean
  readonly #isRaw: boolean
  #rows: Array<unknown> | undefined = undefined

  constructor(way: W) {
    this.#asArrays = way === "arrays"
    this.#isRaw = way === "raw"
  }

  take(rows: Rows, columns: ReadonlyArray<string>): void {
    const made = this.#asArrays ? rows as Array<unknown> : toObjects(rows, columns)
    if (this.#rows === undefined) this.#rows = made
    else for (const row of made) this.#rows.push(row)
  }

  /** A raw statement without columns has a result instead of rows. */
  result(value: unknown): Results[W] {
    return (this.#isRaw && value !== undefined ? value : this.#rows ?? []) as Results[W]
  }
}

/** Runs a statement under a lease. */
export const executeOn = <W extends Way>(
  connection: WorkerLeased,
  { params, text: { sql } }: Query,
  way: W,
  bigInts: boolean,
  isAlone = true
): Effect.Effect<Results[W], SqlError | LeaseExpiredError> =>
  Effect.suspend(() => {
    const collected = new Collected(way)
    return connection.execute(
      { ...ways[way], sql, params: params as Params, bigInts, isAlone },
      (rows, columns) => collected.take(rows, columns),
      (value) => collected.result(value)
    )
  })

/** What becomes of a statement that was sent. */
interface Sending<W extends Way> {
  readonly query: Query
  readonly way: W
  readonly bigInts: boolean
  /** Whether its caller has no lease yet. */
  readonly isAhead: boolean
  /** Whether it may store something, and may share the commit with its neighbours. */
  readonly isWrite: boolean
  readonly done: (answer: Answer) => void
  /** It has succeeded, and has taken so long if that was long. */
  readonly ended: (tookMillis: number | undefined) => void
  /** The answer to its failure. */
  readonly failed: (failed: Failed) => Answer
}

/** How a statement has failed: see `Receiver.failed`. */
export interface Failed {
  readonly thrown: unknown
  readonly isUnknown: boolean
  readonly isDead: boolean
  /** Whether its caller has no lease. */
  readonly isAhead: boolean
}

/** Sends a statement for a member of a pipeline. Its answer is given in a later step. */
export const send = <W extends Way>({ thread: { host } }: WorkerLeased, sending: Sending<W>): Pending => {
  const { bigInts, isAhead, isWrite, query: { params, text: { sql } } } = sending
  const { operation, way } = ways[sending.way]
  const receiver = new Receiving(host, sending)
  const pending = host.statement({
    operation,
    way,
    sql,
    params,
    bigInts,
    isAlone: true,
    isStream: false,
    isAhead,
    isShared: isWrite,
    mayStore: isWrite
  }, receiver)
  receiver.begun(pending)
  return pending
}

class Receiving<W extends Way> implements Receiver {
  readonly #host: Host
  readonly #sending: Sending<W>
  readonly #collected: Collected<W>
  #pending: Pending | undefined = undefined
  #early: (() => void) | undefined = undefined

  constructor(host: Host, sending: Sending<W>) {
    this.#host = host
    this.#sending = sending
    this.#collected = new Collected(sending.way)
  }

  /** The request was made. An answer that came before that is given in a step of its own. */
  begun(pending: Pending): void {
    this.#pending = pending
    if (this.#early !== undefined) queueMicrotask(this.#early)
  }

  rows(rows: Rows, columns: ReadonlyArray<string>): void {
    this.#collected.take(rows, columns)
    this.#host.credit(this.#pending!, 1)
  }

  ended(value: unknown, tookMillis: number | undefined): void {
    this.#sending.ended(tookMillis)
    this.#answer(Exit.succeed(this.#collected.result(value)))
  }

  failed(thrown: unknown, isUnknown: boolean, isDead: boolean): void {
    const { isAhead } = this.#pending ?? this.#sending
    this.#answer(this.#sending.failed({ thrown, isUnknown, isDead, isAhead }))
  }

  cancelled(): void {
    // It was taken back in time, or failed on this side.
  }

  #answer(answer: Answer): void {
    if (this.#pending === undefined) this.#early = () => this.#sending.done(answer)
    else this.#sending.done(answer)
  }
}

/** The request of one statement. It may be sent again, with all of its rows. */
class Read<W extends Way> implements Member<WorkerLeased> {
  readonly isOnce = false
  readonly #query: Query
  readonly #way: W
  readonly #bigInts: boolean

  constructor(query: Query, way: W, bigInts: boolean) {
    this.#query = query
    this.#way = way
    this.#bigInts = bigInts
  }

  isQuick(): boolean {
    return !this.#query.text.pace.isLong
  }

  send(connection: WorkerLeased, isAhead: boolean, done: (answer: Answer) => void): Sent {
    const { host } = connection.thread
    const { pace } = this.#query.text
    const pending = send(connection, {
      query: this.#query,
      way: this.#way,
      bigInts: this.#bigInts,
      isAhead,
      isWrite: false,
      done,
      ended: (tookMillis = 0) => pace.took(tookMillis),
      failed: ({ isAhead, isDead, thrown }) => isDead && isAhead ? undefined : exitOf(thrown)
    })
    return {
      takeBack: (isMoved) => isMoved ? host.move(pending) : host.cancel(pending),
      own: () => host.own(pending)
    }
  }
}

type ReadError = SqlError | LeaseExpiredError | PoolError<SqlError>

/** Runs statements that read, each with a lease of its own, but many of them with one message. */
export class WorkerReads {
  readonly workers: WorkerPool
  readonly #pipeline: Pipeline<WorkerLeased, SqlError>

  constructor(workers: WorkerPool) {
    this.workers = workers
    // The pool is one of this library.
    this.#pipeline = Door.of(workers)!.pipeline()
  }

  run<W extends Way>(
    fiber: Fiber.Fiber<unknown, unknown>,
    query: Query,
    way: W
  ): Effect.Effect<Results[W], ReadError> {
    return this.#pipeline.use<Results[W], ReadError>(new Read(query, way, bigIntsOf(fiber)), undefined)
  }
}
