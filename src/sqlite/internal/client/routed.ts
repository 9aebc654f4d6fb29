/** The target of statements outside of transactions: each runs on a connection of its own. */
import { Effect, type Fiber, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { isSuccess, within } from "../../../internal/runtime.ts"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import { type BusyTimeout, mayStartLater, retryWhileLocked } from "../connection/retryWhileLocked.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import type { Execution } from "../contract/execution.ts"
import type { Params } from "../contract/values.ts"
import { codeOf, failure, toSqlError } from "../errors.ts"
import { primaryOf, READONLY } from "../failures.ts"
import type { Pool } from "../file/sides.ts"
import { type StatementKind, type Text, uncontrolled } from "../sql/statementKind.ts"
import { current, withoutWorkers } from "./execution.ts"
import { openRows, openStream, streamFrom } from "./openStream.ts"
import {
  bigIntsOf,
  execute,
  type Held,
  type HeldBy,
  inOneStep,
  type Query,
  type Results,
  type Running,
  type Target,
  type Way
} from "./targets.ts"
import { executeOn, type WorkerReads } from "./workerReads.ts"
import type { Writes } from "./writes.ts"

/** Readers in threads, and when statements run there. */
export interface Workers {
  readonly reads: WorkerReads
  /** Where statements run that only read, unless their region says otherwise. */
  readonly execution: Execution | "auto"
  /** The time in milliseconds, to learn which texts are slow. */
  readonly now: () => number
}

export interface RoutedOptions {
  /** The name of the database. */
  readonly name: string
  /** A pool of one connection that may write. */
  readonly writer: Pool
  /** A pool of connections that only read. For a database in memory it is `writer`. */
  readonly reader: Pool
  /** Not set if there are none. */
  readonly workers: Workers | undefined
  readonly busyTimeout: BusyTimeout
  /** Not set for a file, because there a fiber can get another connection. */
  readonly heldBy: HeldBy | undefined
  /** Runs statements that insert, update or delete. */
  readonly writes: Writes
}

/**
 * Runs each statement on a connection of its own: on a reader if its text only reads, otherwise on the writer. If a
 * statement on a reader writes after all, the reader refuses it without changing anything, and the writer runs it.
 */
export class Routed implements Target {
  readonly #options: RoutedOptions

  constructor(options: RoutedOptions) {
    this.#options = options
  }

  run<W extends Way>(fiber: Fiber.Fiber<unknown, unknown>, query: Query, way: W): Running<W> {
    const { text: { changesRows, kind, sql } } = query
    const bigInts = bigIntsOf(fiber)
    const once = (connection: SqliteConnection) => execute(connection, query, way, bigInts, true)
    const { heldBy, reader, writer } = this.#options
    const held = heldBy === undefined ? undefined : heldFor(kind, heldBy(fiber))
    if (held !== undefined) return inOneStep(() => once(held))
    switch (kind) {
      case "control":
        return Effect.fail(toSqlError(uncontrolled(sql)))
      case "write":
        return changesRows ? this.#write(fiber, once) : this.#runOn(writer, fiber, once, undefined)
      case "recall":
        return this.#runOn(writer, fiber, once, undefined)
      case "read": {
        const execution = this.#executionOf(fiber, query.text)
        if (execution === "in-process") return this.#runOn(reader, fiber, once, this.#otherwise)
        if (execution === "worker") return this.#runOnWorker(fiber, query, way, once)
        return this.#runOn(reader, fiber, (connection) => this.#timed(query.text, once, connection), this.#otherwise)
      }
    }
  }

  /** Where a statement runs that only reads. `"auto"`: in process, and its time is taken. */
  #executionOf(fiber: Fiber.Fiber<unknown, unknown>, text: Text): Execution | "auto" {
    const { workers } = this.#options
    const region = current(fiber)
    // A worker that is wanted and not there is refused by `#runOnWorker`. In memory, there is only one connection.
    if (workers === undefined) return region === "worker" && this.#options.heldBy === undefined ? region : "in-process"
    if (region !== undefined) return region
    const { execution } = workers
    return execution === "auto" && text.pace.isSlow ? "worker" : execution
  }

  /** The pool that runs what a reader has refused as a write. */
  get #otherwise(): Pool | undefined {
    const { reader, writer } = this.#options
    return reader === writer ? undefined : writer
  }

  #timed<A>({ pace }: Text, once: (connection: SqliteConnection) => A, connection: SqliteConnection): A {
    const { now } = this.#options.workers!
    const begunAt = now()
    try {
      return once(connection)
    } finally {
      pace.took(now() - begunAt)
    }
  }

  #runOnWorker<W extends Way>(
    fiber: Fiber.Fiber<unknown, unknown>,
    query: Query,
    way: W,
    once: (connection: SqliteConnection) => Results[W]
  ): Running<W> {
    const { name, workers } = this.#options
    if (workers === undefined) return Effect.fail(toSqlError(withoutWorkers("execute", name)))
    const { reads } = workers
    const bigInts = bigIntsOf(fiber)
    return Effect.catch(reads.run(fiber, query, way), (error): Running<W> => {
      if (this.#otherwise !== undefined && isRefusedByReader(error)) {
        return this.#runOn(this.#otherwise, fiber, once, undefined)
      }
      if (!mayStartLater(codeOf(error))) return Effect.fail(sqlErrorOf(error))
      const persisted = reads.workers.use((connection) => this.#persist(executeOn(connection, query, way, bigInts)))
      return Effect.mapError(persisted, sqlErrorOf)
    })
  }

  stream(query: Query): Stream.Stream<unknown, SqlError> {
    const { heldBy } = this.#options
    return Stream.unwrap(Effect.withFiber((fiber) => {
      const { params, text: { kind, sql } } = query
      if (heldBy === undefined) return Effect.succeed(this.#stream(query, fiber))
      const held = heldFor(kind, heldBy(fiber))
      return Effect.succeed(
        held === undefined
          ? this.#stream(query, fiber)
          : Stream.mapError(held.stream(sql, params as Params), sqlErrorOf)
      )
    }))
  }

  #stream(query: Query, fiber: Fiber.Fiber<unknown, unknown>): Stream.Stream<unknown, SqlError> {
    const { writer } = this.#options
    switch (query.text.kind) {
      case "control":
        return Stream.fail(toSqlError(uncontrolled(query.text.sql)))
      case "write":
      case "recall":
        return this.#streamOn(writer, query)
      case "read": {
        const otherwise = this.#otherwise
        return Stream.catchIf(
          this.#streamRead(query, fiber),
          (error) => otherwise !== undefined && isRefusedByReader(error),
          () => this.#streamOn(otherwise!, query)
        )
      }
    }
  }

  #streamRead(query: Query, fiber: Fiber.Fiber<unknown, unknown>): Stream.Stream<unknown, SqlError> {
    const { name, reader, workers } = this.#options
    if (this.#executionOf(fiber, query.text) !== "worker") return this.#streamOn(reader, query)
    if (workers === undefined) return Stream.fail(toSqlError(withoutWorkers("stream", name)))
    const { params, text: { sql } } = query
    const acquired = workers.reads.workers.acquire()
    return streamFrom(
      Effect.flatMap(acquired, (worker) => this.#persist(openRows(worker.stream(sql, params as Params)))),
      Effect.void
    )
  }

  #write<A>(
    fiber: Fiber.Fiber<unknown, unknown>,
    once: (connection: SqliteConnection) => A
  ): Effect.Effect<A, SqlError> {
    const ran = this.#options.writes.statement(fiber, once)
    return isSuccess(ran) ? ran : Effect.mapError(ran, sqlErrorOf)
  }

  /** Runs a statement on a connection of `pool`. If that refuses it as a write, `writer` runs it, if it is given. */
  #runOn<A>(
    pool: Pool,
    fiber: Fiber.Fiber<unknown, unknown>,
    once: (connection: SqliteConnection) => A,
    writer: Pool | undefined
  ): Effect.Effect<A, SqlError> {
    const ran = within(pool.useSync({ try: once, catch: failure }), fiber)
    if (isSuccess(ran)) return ran
    const otherwise = (error: Parameters<typeof sqlErrorOf>[0]) =>
      writer !== undefined && isRefusedByReader(error)
        ? this.#runOn(writer, fiber, once, undefined)
        : Effect.fail(sqlErrorOf(error))
    return Effect.catch(ran, (error) => {
      if (!mayStartLater(codeOf(error))) return otherwise(error)
      // All retries run in one lease, so that no later caller is served before this one.
      const persisted = pool.use((connection) =>
        this.#persist(Effect.try({ try: () => once(connection), catch: failure }))
      )
      return Effect.catch(persisted, otherwise)
    })
  }

  #streamOn(pool: Pool, { params, text: { sql } }: Query): Stream.Stream<unknown, SqlError> {
    return streamFrom(
      Effect.flatMap(
        pool.acquire(),
        (connection) => this.#persist(openStream(connection, sql, params as Params, true))
      ),
      Effect.void
    )
  }

  #persist<A, E, R>(start: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return retryWhileLocked(start, this.#options.busyTimeout.millis, { isWorthwhile: mayStartLater })
  }
}

/** The held connection, if the statement may run on it. */
const heldFor = (kind: StatementKind, held: Held | undefined): SqliteConnection | undefined =>
  held !== undefined && kind !== "control" && (held.side === "read" || kind === "read") ? held.connection : undefined

/** Whether a reader has refused a write. A refused write has changed nothing. */
const isRefusedByReader = (error: unknown): boolean => {
  const code = codeOf(error)
  return code !== undefined && primaryOf(code) === READONLY
}
