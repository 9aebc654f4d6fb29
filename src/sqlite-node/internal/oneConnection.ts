/**
 * Runs statements as if the database had one connection, for applications that were written for such a client.
 *
 * Statements may begin and end transactions (`ManualTransaction`), and set `busy_timeout` (`withBusyTimeout`). Their
 * changes of the connection last (`Lasting`).
 */
import { Effect, type Fiber, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { sqlErrorOf } from "../../internal/transaction/sqlErrorOf.ts"
import type { Decorate } from "../../sqlite/internal/client/client.ts"
import {
  bigIntsOf,
  execute,
  type Query,
  type Running,
  type Target,
  type Way
} from "../../sqlite/internal/client/targets.ts"
import type { Params } from "../../sqlite/internal/contract/values.ts"
import { toSqlError } from "../../sqlite/internal/errors.ts"
import { denied } from "../../sqlite/internal/failures.ts"
import type { Pool } from "../../sqlite/internal/file/sides.ts"
import type { Lasting } from "../../sqlite/internal/sql/lasting.ts"
import { LockTimeout, withBusyTimeout } from "./busyTimeoutPragma.ts"
import { ManualTransaction } from "./manualTransaction.ts"

/** Decorates a client. `lasting` keeps the changes that statements make to their connection. */
export const oneConnection = (lasting: Lasting): Decorate => ({ reader, workers, writer }, busyTimeoutMillis) => {
  const timeout = new LockTimeout(busyTimeoutMillis)
  const manual = new ManualTransaction(writer, timeout)
  return {
    busyTimeout: timeout,
    outside: (target) => withBusyTimeout(new OneConnection(target, manual, lasting, [reader, ...workers]), timeout),
    inside: (target) => withBusyTimeout(target, timeout),
    selfDeadlock: (fiber) => manual.selfDeadlock(fiber),
    close: manual.close
  }
}

type Recyclable = Pick<Pool, "recycle">

class OneConnection implements Target {
  readonly #target: Target
  readonly #manual: ManualTransaction
  readonly #lasting: Lasting
  readonly #readers: ReadonlyArray<Recyclable>

  constructor(target: Target, manual: ManualTransaction, lasting: Lasting, readers: ReadonlyArray<Recyclable>) {
    this.#target = target
    this.#manual = manual
    this.#lasting = lasting
    this.#readers = readers
  }

  run<W extends Way>(fiber: Fiber.Fiber<unknown, unknown>, query: Query, way: W): Running<W> {
    if (query.text.kind === "control" || this.#manual.connection !== undefined) {
      const bigInts = bigIntsOf(fiber)
      return this.#manual.run(fiber, (connection) => execute(connection, query, way, bigInts, true))
    }
    return this.#lasting.isStale
      ? Effect.flatMap(this.#renew, () => this.run(fiber, query, way))
      : this.#target.run(fiber, this.#routed(query), way)
  }

  stream(query: Query): Stream.Stream<unknown, SqlError> {
    const { params, text: { kind, sql } } = query
    if (kind === "control") {
      return Stream.fail(toSqlError(denied("execute", sql, "run it as a statement, not as a stream")))
    }
    const begun = this.#manual.connection
    if (begun !== undefined) {
      return Stream.mapError(begun.stream(sql, params as Params), sqlErrorOf)
    }
    return this.#lasting.isStale
      ? Stream.unwrap(Effect.map(this.#renew, () => this.stream(query)))
      : this.#target.stream(this.#routed(query))
  }

  /** Sends a read to the writer while only the writer has temporary tables, which it may read. */
  #routed(query: Query): Query {
    return this.#lasting.hasOwn && query.text.kind === "read"
      ? { text: { ...query.text, kind: "recall" }, params: query.params }
      : query
  }

  /** Replaces all readers, because some were opened before the last change. */
  readonly #renew: Effect.Effect<void> = Effect.suspend(() => {
    this.#lasting.isStale = false
    return Effect.forEach(this.#readers, ({ recycle }) => recycle, { discard: true })
  })
}
