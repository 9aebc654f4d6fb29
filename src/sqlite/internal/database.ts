/** The operations of a `SqlitePool`, on its two pools. */
import { Effect, Result, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions, ConnectionPool, ShutdownOptions } from "../../ConnectionPool.ts"
import * as Calls from "../../internal/options/call.ts"
import { resolveShutdown } from "../../internal/options/pool.ts"
import * as Body from "../../internal/pool/body.ts"
import * as DatabaseDoor from "../../internal/pool/databaseDoor.ts"
import * as Door from "../../internal/pool/door.ts"
import { byTotal } from "../../internal/pool/slowStatements.ts"
import { shortTextOf } from "../../internal/structures/statementText.ts"
import type { PoolError } from "../../PoolError.ts"
import { TransactionCommitError } from "../../TransactionError.ts"
import { ForeignKeysViolatedError } from "../SqlitePoolError.ts"
import type { SqliteReader, SqliteSyncReader } from "../SqliteReader.ts"
import * as Batch from "./client/batch.ts"
import type { Decorate } from "./client/client.ts"
import * as CommitStream from "./client/commitStream.ts"
import * as Execution from "./client/execution.ts"
import * as Observe from "./client/observe.ts"
import * as Snapshot from "./client/snapshot.ts"
import type { Held } from "./client/targets.ts"
import { SqliteTransactionConnection } from "./client/transactionConnection.ts"
import { WorkerTransactionConnection } from "./client/workerTransaction.ts"
import { ReaderView } from "./connection/readerView.ts"
import * as Refusal from "./connection/refusal.ts"
import type { SqliteConnection } from "./contract/connection.ts"
import type { ReadOptions } from "./contract/execution.ts"
import type { ObserveOptions } from "./contract/observe.ts"
import type { SqlitePool } from "./contract/pool.ts"
import type { RebuildOptions, TransactionOptions } from "./contract/transaction.ts"
import type { Params, Row } from "./contract/values.ts"
import { failure, toSqlError } from "./errors.ts"
import { readOnlyRefusal } from "./failures.ts"
import * as Backup from "./file/backup.ts"
import * as Checkpoint from "./file/checkpoint.ts"
import type { WorkerPool } from "./file/sides.ts"
import * as WalCare from "./file/walCare.ts"
import { withFunctions } from "./options/functionsModule.ts"
import * as PoolSettings from "./options/pool.ts"
import * as Pools from "./pools.ts"

/**
 * Opens a database for checked options. Returns it with the pools behind it.
 */
export const makeWith = Effect.fnUntraced(function*(settings: PoolSettings.PoolSettings, decorate?: Decorate) {
  const pools = yield* Pools.make(yield* withFunctions(settings), decorate)
  if (pools.file !== undefined) yield* Effect.forkScoped(WalCare.run(pools, pools.file))
  return { pool: fromPools(pools), pools }
})

const fromPools = (pools: Pools.Pools): SqlitePool => {
  const { client, file, readers, settings, workers, writer } = pools

  const refusal = Refusal.ofReader(settings.name)
  const viewOf = (connection: SqliteConnection) => new ReaderView(connection, refusal)

  /** Runs an effect that holds the only connection of a database in memory, so that all operations inside run on it. */
  const holding = <A, E, R>(
    side: Held["side"],
    connection: SqliteConnection,
    effect: Effect.Effect<A, E, R>
  ) => Effect.provideService(effect, pools.held, { side, connection })

  const [use, useSync]: [Read, SqlitePool["readSync"]] = file === undefined
    ? [
      (f, options) =>
        readers.use((connection) => holding("read", connection, Body.run(f, viewOf(connection))), options),
      (f, options) => readers.useSync({ try: (connection) => f(viewOf(connection)), catch: failure }, options)
    ]
    : [readers.use, (f, options) => readers.useSync({ try: f, catch: failure }, options)]

  const sides = {
    writer,
    ...(readers === writer ? undefined : { readers }),
    ...asReaders(workers)
  }

  /** The error for invalid options of a call that needs no connection. Valid options have no effect there. */
  const invalid = (options: AcquireOptions | undefined) => {
    if (options === undefined) return undefined
    const checked = Calls.resolve(settings.name, options)
    return Calls.isRefused(checked) ? Effect.fail(checked) : undefined
  }

  const read = <A, E, R>(
    f: (reader: SqliteSyncReader) => Effect.Effect<A, E, R>,
    options: ReadOptions | undefined
  ): Effect.Effect<A, E | PoolError<SqlError>, R> =>
    Effect.withFiber((fiber) => {
      const read = Execution.resolve(settings.name, options)
      if (Result.isFailure(read)) return Effect.fail(read.failure)
      const { acquire, execution } = read.success
      const reader = Pools.readerOf(pools, fiber)
      if (reader !== undefined) return invalid(acquire) ?? Body.run(f, reader)
      const target = Execution.targetOf(pools, fiber, execution)
      if (target === "in-process") return use(f, acquire)
      // Only a caller that may get a reader in a thread gets one: its type has no synchronous operations.
      return Effect.isEffect(target)
        ? target
        : target.use(f as (reader: SqliteReader) => Effect.Effect<A, E, R>, acquire)
    })

  return DatabaseDoor.add<SqlitePool>({
    name: settings.name,
    filename: settings.connection.filename,
    sql: client.sql,
    read: read as SqlitePool["read"],
    readSync: (f, options) =>
      Effect.withFiber((fiber) => {
        const reader = Pools.readerOf(pools, fiber)
        const body = synchronous("read", f)
        if (reader === undefined) return useSync(body, options)
        return invalid(options) ?? Effect.try({ try: () => body(reader), catch: failure })
      }),
    write: (f, options) =>
      Effect.withFiber((fiber) => {
        const connection = Pools.writerOf(pools, fiber)
        if (file !== undefined) {
          return connection === undefined ? writer.use(f, options) : invalid(options) ?? Body.run(f, connection)
        }
        return connection === undefined
          ? writer.use((connection) => holding("write", connection, Body.run(f, connection)), options)
          : invalid(options) ?? holding("write", connection, Body.run(f, connection))
      }),
    writeSync: (f, options) =>
      Effect.withFiber((fiber) => {
        const connection = Pools.writerOf(pools, fiber)
        const body = synchronous("write", f)
        if (connection === undefined) return client.writes.body(fiber, body, options)
        const run = () =>
          connection instanceof WorkerTransactionConnection
            // Whatever the function does with the connection fails.
            ? body(connection)
            : connection instanceof SqliteTransactionConnection
            ? connection.atomically(body)
            : client.writes.atomically(connection, body)
        return invalid(options) ?? Effect.try({ try: run, catch: failure })
      }),
    transaction: <A, E, R>(effect: Effect.Effect<A, E, R>, options?: TransactionOptions | RebuildOptions) => {
      const transaction = client.transactor.transaction(effect, options)
      return (options as Partial<RebuildOptions> | undefined)?.foreignKeys === "off"
        ? Effect.catch(transaction, (error) => Effect.fail(violationsBehind(error) as typeof error))
        : transaction
    },
    batch: ((given: unknown, ...rest: ReadonlyArray<unknown>) =>
      // A text has rows, and is no collection of statements.
      typeof given === "string"
        ? Batch.batch(pools, given, rest[0], rest[1])
        : Batch.batch(pools, undefined, given, rest[0])) as SqlitePool["batch"],
    snapshot: (effect, options) =>
      options === undefined
        ? Snapshot.snapshot(pools, effect, undefined, undefined)
        : Effect.suspend(() => {
          const read = Execution.resolve(settings.name, options)
          if (Result.isFailure(read)) return Effect.fail(read.failure)
          const { acquire, execution } = read.success
          return invalid(acquire) ?? Snapshot.snapshot(pools, effect, acquire, execution)
        }),
    stream: (sql, params, options) =>
      Stream.unwrap(
        Effect.withFiber((fiber) => {
          const read = Execution.resolve(settings.name, options)
          if (Result.isFailure(read)) return Effect.fail(read.failure)
          const { acquire = {}, execution } = read.success
          const reader = Pools.readerOf(pools, fiber)
          if (reader !== undefined) return invalid(acquire) ?? Effect.succeed(reader.stream(sql, params))
          const target = Execution.targetOf(pools, fiber, execution)
          // A stream does not wait for locks, but this statement does.
          const open = (reader: SqliteReader) =>
            Effect.as(reader.values("select 1 from sqlite_schema limit 1"), reader.stream(sql, params))
          if (Effect.isEffect(target)) return target
          if (target !== "in-process") return Effect.flatMap(Pools.pinning(file!, target).acquire(acquire), open)
          return Effect.flatMap(
            pools.acquireReader(acquire),
            (connection) => open(file === undefined ? viewOf(connection) : connection)
          )
        })
      ),
    observe: observing(pools),
    commits: CommitStream.stream(pools.commits),
    backup: (filename, options) => Backup.backup(pools, filename, options),
    checkpoint: (mode = "truncate") =>
      Effect.suspend(() => {
        const checked = PoolSettings.resolveCheckpoint(settings.name, mode)
        if (Result.isFailure(checked)) return Effect.fail(checked.failure)
        return settings.connection.isReadOnly
          ? Effect.fail(
            toSqlError(
              readOnlyRefusal(
                "checkpoint",
                `pragma wal_checkpoint(${checked.success})`,
                Refusal.ofDatabase(settings.name)
              )
            )
          )
          : Effect.andThen(
            Checkpoint.moveAhead(pools),
            writer.use((connection) => Checkpoint.checkpoint(connection, checked.success), { label: "checkpoint" })
          )
      }),
    stats: Effect.gen(function*() {
      return {
        writer: yield* writer.stats,
        readers: yield* readers.stats,
        ...(workers === undefined ? undefined : { workers: yield* workers.stats }),
        walBytes: file === undefined ? 0 : file.file.walBytes
      }
    }),
    slowStatements: Effect.map(
      Effect.all(Object.values(sides).map(({ slowStatements }) => slowStatements)),
      (lists) => lists.flat().toSorted(byTotal)
    ),
    movedToWorkers: Effect.sync(() =>
      settings.execution === "auto" ? client.texts.slow.map((text) => shortTextOf(text)) : []
    ),
    writer,
    readers,
    ...asReaders(workers),
    sides,
    shutdown: ((options?: ShutdownOptions) =>
      Effect.gen(function*() {
        if (options !== undefined) yield* Effect.fromResult(resolveShutdown(settings.name, options))
        // An observation that waits for a commit would not notice the shutdown.
        pools.commits.end()
        const ofWorkers = workers && (yield* workers.shutdown(options))
        const ofReaders = yield* readers.shutdown(options)
        const report = { readers: ofReaders, writer: yield* writer.shutdown(options) }
        return ofWorkers === undefined ? report : { ...report, workers: ofWorkers }
      })) as SqlitePool["shutdown"]
  }, { logBytes: () => file?.file.walBytes, log: (most) => logOf(pools, most) })
}

/** The pool of the workers, as users see it. */
const asReaders = (workers: WorkerPool | undefined): Pick<SqlitePool["sides"], "workers"> =>
  workers === undefined ? {} : { workers: workers as object as ConnectionPool<SqliteReader, SqlError> }

type Read = <A, E, R>(
  f: (reader: SqliteSyncReader) => Effect.Effect<A, E, R>,
  options: AcquireOptions | undefined
) => Effect.Effect<A, E | PoolError<SqlError>, R>

const logOf = (
  { file, readers, settings, workers }: Pools.Pools,
  most: number
): DatabaseDoor.LogInspection | undefined => {
  if (file === undefined) return undefined
  const pinning = file.pins.pinning(file.pins.now())
  const [ofReaders, ofWorkers] = [Door.of(readers), workers && Door.of(workers)]
  const holderOf = (leased: unknown) => ofReaders?.holderOf(leased) ?? ofWorkers?.holderOf(leased)
  return {
    bytes: file.file.walBytes,
    limitBytes: settings.walLimit,
    pins: pinning.slice(0, most).map(({ leased, pinnedMillis }) => ({ holder: holderOf(leased), pinnedMillis })),
    pinned: pinning.length
  }
}

const observing = (pools: Pools.Pools): SqlitePool["observe"] => {
  const refusal = pools.settings.connection.isReadOnly
    ? Refusal.ofDatabase(pools.settings.name)
    : Refusal.ofReader(pools.settings.name)
  const observe = (query: unknown, ...rest: ReadonlyArray<unknown>): Stream.Stream<unknown, unknown, unknown> => {
    if (Effect.isEffect(query)) {
      return Observe.effect(pools, query, rest[0] as ObserveOptions<unknown> | undefined)
    }
    const [params, options] = rest as [Params | undefined, ObserveOptions<ReadonlyArray<Row>> | undefined]
    return Observe.statement(pools, query as string, params, refusal, options)
  }
  return observe as SqlitePool["observe"]
}

/** The foreign key error that caused a commit error; for any other error, the error itself. */
const violationsBehind = <E>(error: E): E | ForeignKeysViolatedError =>
  error instanceof TransactionCommitError && error.cause.reason.cause instanceof ForeignKeysViolatedError
    ? error.cause.reason.cause
    : error

/** Wraps a function given to `readSync` or `writeSync`. Throws if it returns an Effect, which would never run. */
const synchronous = <C, A>(way: "read" | "write", f: (connection: C) => A) => (connection: C): A => {
  const result = f(connection)
  if (!Body.isLater(result)) return result
  throw Body.late(`${way}Sync`, result, `use ${way}, or an operation whose name ends in Unsafe`)
}
