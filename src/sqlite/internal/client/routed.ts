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
import type { Pool, WorkerPool } from "../file/sides.ts"
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
import type { WorkerWrites } from "./workerWrites.ts"
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
  /** Runs all statements that do more than read, if the writer is in a thread. */
  readonly workerWrites: WorkerWrites | undefined
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
    const { heldBy, workerWrites } = this.#options
    const held = heldBy === undefined ? undefined : heldFor(kind, heldBy(fiber))
    if (held !== undefined) return inOneStep(() => once(held))
    switch (kind) {
      case "control":
        return Effect.fail(toSqlError(uncontrolled(sql)))
      case "write":
        if (workerWrites === undefined && changesRows) return this.#write(fiber, once)
        return this.#runOnWriter(fiber, query, way, once)
      case "recall":
        return this.#runOnWriter(fiber, query, way, once)
      case "read": {
        const execution = this.#executionOf(fiber, query.text)
        if (execution === "in-process") return this.#runOnReader(fiber, query, way, once)
        if (execution === "worker") return this.#runOnWorker(fiber, query, way, once)
        return this.#runOnReader(fiber, query, way, (connection) => this.#timed(query.text, once, connection))
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

  /** Whether there is a writer besides the readers, which runs what a reader has refused as a write. */
  get #hasWriter(): boolean {
    const { reader, writer } = this.#options
    return reader !== writer
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
      if (this.#hasWriter && isRefusedByReader(error)) return this.#runOnWriter(fiber, query, way, once)
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
    switch (query.text.kind) {
      case "control":
        return Stream.fail(toSqlError(uncontrolled(query.text.sql)))
      case "write":
      case "recall":
        return this.#streamOnWriter(query)
      case "read":
        return Stream.catchIf(
          this.#streamRead(query, fiber),
          (error) => this.#hasWriter && isRefusedByReader(error),
          () => this.#streamOnWriter(query)
        )
    }
  }

  #streamRead(query: Query, fiber: Fiber.Fiber<unknown, unknown>): Stream.Stream<unknown, SqlError> {
    const { name, reader, workers } = this.#options
    if (this.#executionOf(fiber, query.text) !== "worker") return this.#streamOn(reader, query)
    if (workers === undefined) return Stream.fail(toSqlError(withoutWorkers("stream", name)))
    return this.#streamOnWorker(workers.reads.workers, query)
  }

  #streamOnWriter(query: Query): Stream.Stream<unknown, SqlError> {
    const { workerWrites, writer } = this.#options
    return workerWrites === undefined
      ? this.#streamOn(writer, query)
      : this.#streamOnWorker(workerWrites.writer, query)
  }

  #streamOnWorker(pool: WorkerPool, { params, text: { sql } }: Query): Stream.Stream<unknown, SqlError> {
    return streamFrom(
      Effect.flatMap(pool.acquire(), (worker) => this.#persist(openRows(worker.stream(sql, params as Params, true)))),
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

  /** Runs a statement on a reader. If that refuses it as a write, the writer runs it, if there is one. */
  #runOnReader<W extends Way>(
    fiber: Fiber.Fiber<unknown, unknown>,
    query: Query,
    way: W,
    once: (connection: SqliteConnection) => Results[W]
  ): Running<W> {
    const ran = this.#runOn(this.#options.reader, fiber, once)
    if (isSuccess(ran) || !this.#hasWriter) return ran
    return Effect.catch(
      ran,
      (error) => isRefusedByReader(error) ? this.#runOnWriter(fiber, query, way, once) : Effect.fail(error)
    )
  }

  #runOnWriter<W extends Way>(
    fiber: Fiber.Fiber<unknown, unknown>,
    query: Query,
    way: W,
    once: (connection: SqliteConnection) => Results[W]
  ): Running<W> {
    const { workerWrites, writer } = this.#options
    return workerWrites === undefined ? this.#runOn(writer, fiber, once) : workerWrites.run(fiber, query, way)
  }

  /** Runs a statement on a connection of `pool`. */
  #runOn<A>(
    pool: Pool,
    fiber: Fiber.Fiber<unknown, unknown>,
    once: (connection: SqliteConnection) => A
  ): Effect.Effect<A, SqlError> {
    const ran = within(pool.useSync({ try: once, catch: failure }), fiber)
    if (isSuccess(ran)) return ran
    return Effect.catch(ran, (error) => {
      if (!mayStartLater(codeOf(error))) return Effect.fail(sqlErrorOf(error))
      // All retries run in one lease, so that no later caller is served before this one.
      const persisted = pool.use((connection) =>
        this.#persist(Effect.try({ try: () => once(connection), catch: failure }))
      )
      return Effect.mapError(persisted, sqlErrorOf)
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
