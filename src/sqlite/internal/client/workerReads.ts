/** Statements of `sql` that read, on readers in threads. */
import { Effect, Exit, type Fiber } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Door from "../../../internal/pool/door.ts"
import type { Answer, Member, Pipeline, Sent } from "../../../internal/pool/pipeline.ts"
import type { LeaseExpiredError, PoolError } from "../../../PoolError.ts"
import type { Params } from "../contract/values.ts"
import { failure } from "../errors.ts"
import type { WorkerPool } from "../file/sides.ts"
import type { Pace } from "../sql/pace.ts"
import type { Receiver } from "../worker/pending.ts"
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

  send({ thread: { host } }: WorkerLeased, isAhead: boolean, done: (answer: Answer) => void): Sent {
    const { params, text: { pace, sql } } = this.#query
    const { operation, way } = ways[this.#way]
    const receiver = new Reading(new Collected(this.#way), pace, () => isAhead, done)
    const statement = {
      operation,
      way,
      sql,
      params,
      bigInts: this.#bigInts,
      isAlone: true,
      isStream: false,
      isAhead,
      mayStore: false
    }
    const pending = host.statement(statement, receiver)
    receiver.credit = () => host.credit(pending, 1)
    receiver.isAhead = () => pending.isAhead
    receiver.begun()
    return {
      takeBack: (isMoved) => isMoved ? host.move(pending) : host.cancel(pending),
      own: () => host.own(pending)
    }
  }
}

class Reading<W extends Way> implements Receiver {
  readonly #collected: Collected<W>
  readonly #pace: Pace
  readonly #done: (answer: Answer) => void
  credit: () => void = () => {}
  isAhead: () => boolean
  #early: (() => void) | undefined = undefined
  #hasBegun = false

  constructor(collected: Collected<W>, pace: Pace, isAhead: () => boolean, done: (answer: Answer) => void) {
    this.#collected = collected
    this.#pace = pace
    this.isAhead = isAhead
    this.#done = done
  }

  /** The request was made. An answer that came before that is given in a step of its own. */
  begun(): void {
    this.#hasBegun = true
    if (this.#early !== undefined) queueMicrotask(this.#early)
  }

  rows(rows: Rows, columns: ReadonlyArray<string>): void {
    this.#collected.take(rows, columns)
    this.credit()
  }

  ended(value: unknown, tookMillis: number | undefined): void {
    this.#pace.took(tookMillis ?? 0)
    this.#answer(Exit.succeed(this.#collected.result(value)))
  }

  failed(thrown: unknown, _: boolean, isDead: boolean): void {
    this.#answer(isDead && this.isAhead() ? undefined : Exit.fail(failure(thrown)))
  }

  cancelled(): void {
    // It was taken back, or failed on this side.
  }

  #answer(answer: Answer): void {
    if (this.#hasBegun) this.#done(answer)
    else this.#early = () => this.#done(answer)
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
