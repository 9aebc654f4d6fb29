/** Single statements of `sql` that do more than read, on a writer in a thread. */
import { Effect, Exit, type Fiber, Option } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Door from "../../../internal/pool/door.ts"
import type { Answer, Member, Pipeline, Sent } from "../../../internal/pool/pipeline.ts"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import { type BusyTimeout, mayStartLater, retryWhileLocked } from "../connection/retryWhileLocked.ts"
import { codeOf, exitOf } from "../errors.ts"
import type { WorkerPool } from "../file/sides.ts"
import { outcomeUnknown } from "../worker/request.ts"
import type { WorkerLeased } from "../worker/workerConnection.ts"
import { bigIntsOf, type Query, type Results, type Running, type Way } from "./targets.ts"
import { executeOn, type Failed, send, ways } from "./workerReads.ts"

/**
 * The request of one statement that changes rows. The requests of those who ask at the same time are sent with one message,
 * and the thread commits them together: see `group.ts` there.
 */
class Write<W extends Way> implements Member<WorkerLeased> {
  readonly isOnce = true
  readonly #query: Query
  readonly #way: W
  readonly #bigInts: boolean
  readonly #busyTimeout: BusyTimeout

  constructor(query: Query, way: W, bigInts: boolean, busyTimeout: BusyTimeout) {
    this.#query = query
    this.#way = way
    this.#bigInts = bigInts
    this.#busyTimeout = busyTimeout
  }

  isQuick(): boolean {
    return true
  }

  /** All tries run in one lease, so that no later caller is served before this one. */
  lead(connection: WorkerLeased, answer: Effect.Effect<unknown, unknown>): Effect.Effect<unknown, unknown> {
    return Effect.catch(answer, (error) =>
      mayStartLater(codeOf(error))
        ? persist(executeOn(connection, this.#query, this.#way, this.#bigInts), this.#busyTimeout)
        : Effect.fail(error))
  }

  send(connection: WorkerLeased, isAhead: boolean, done: (answer: Answer) => void): Sent {
    const { host } = connection.thread
    const pending = send(connection, {
      query: this.#query,
      way: this.#way,
      bigInts: this.#bigInts,
      isAhead,
      isWrite: true,
      done,
      ended: () => {},
      failed: (failed) => this.#failed(failed)
    })
    return { takeBack: () => host.cancel(pending), own: () => host.own(pending) }
  }

  #failed({ isAhead, isDead, isUnknown, thrown }: Failed): Answer {
    if (isUnknown) return Exit.fail(outcomeUnknown(thrown, ways[this.#way].operation))
    const exit = exitOf(thrown)
    // Its caller has no lease yet. With one, it asks again: on a new connection, or until the lock is free.
    return isAhead && (isDead || mayStartLater(codeOf(errorOf(exit)))) ? undefined : exit
  }
}

export class WorkerWrites {
  readonly writer: WorkerPool
  readonly #busyTimeout: BusyTimeout
  /** Not set if nothing is committed together. */
  readonly #pipeline: Pipeline<WorkerLeased, SqlError> | undefined

  constructor(writer: WorkerPool, busyTimeout: BusyTimeout, isGrouped: boolean) {
    this.writer = writer
    this.#busyTimeout = busyTimeout
    // The pool is one of this library.
    this.#pipeline = isGrouped ? Door.of(writer)!.pipeline() : undefined
  }

  run<W extends Way>(fiber: Fiber.Fiber<unknown, unknown>, query: Query, way: W): Running<W> {
    const bigInts = bigIntsOf(fiber)
    const ran = this.#pipeline === undefined || !query.text.changesRows
      ? this.writer.use((connection) => persist(executeOn(connection, query, way, bigInts), this.#busyTimeout))
      : this.#pipeline.use<Results[W], SqlError | LeaseExpiredError>(
        new Write(query, way, bigInts, this.#busyTimeout),
        undefined
      )
    return Effect.mapError(ran, sqlErrorOf)
  }
}

/** Tries a statement again while another process has a lock. */
const persist = <A, E>(statement: Effect.Effect<A, E>, { millis }: BusyTimeout): Effect.Effect<A, E> =>
  retryWhileLocked(statement, millis, { isWorthwhile: mayStartLater })

const errorOf = (exit: Exit.Exit<never, unknown>): unknown => Option.getOrUndefined(Exit.findErrorOption(exit))
