/**
 * The two pools of a SQLite database: one connection that writes, and some that read. In memory both are one pool of
 * one connection; of a file that is only read both are one pool of readers.
 *
 * Everything that works on the database gets its connections here, and finds here the connection that a fiber has
 * already.
 */
import { Context, Effect, type Fiber, Option, type Scope } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlError } from "effect/sql/SqlError"
import * as ConnectionPool from "../../ConnectionPool.ts"
import * as Door from "../../internal/pool/door.ts"
import type { ConnectError, PoolConfigError, PoolError } from "../../PoolError.ts"
import type { SqliteSyncReader } from "../SqliteReader.ts"
import * as Client from "./client/client.ts"
import type { Held } from "./client/targets.ts"
import * as ToldReactivity from "./client/toldReactivity.ts"
import { WorkerReads } from "./client/workerReads.ts"
import { factoryOf, openWith } from "./connection/factory.ts"
import { handleOf } from "./connection/leased.ts"
import { ReaderView } from "./connection/readerView.ts"
import * as Refusal from "./connection/refusal.ts"
import type { SqliteConnection as Connection } from "./contract/connection.ts"
import { toSqlError } from "./errors.ts"
import { failed } from "./failures.ts"
import * as BulkCommit from "./file/bulkCommit.ts"
import { Commits } from "./file/commits.ts"
import { SharedFile } from "./file/connections.ts"
import type { Pool, Sides, WorkerPool } from "./file/sides.ts"
import type { Settings } from "./options/connection.ts"
import { nameOf } from "./options/nameOf.ts"
import type { PoolSettings } from "./options/pool.ts"
import { adviceFor } from "./options/slowAdvice.ts"

export interface Pools extends Sides {
  /** Acquires a reader for a caller that will pin a state of the database. Waits while the log is cut back. */
  readonly acquireReader: (
    options?: ConnectionPool.AcquireOptions | undefined
  ) => Effect.Effect<Connection, PoolError<SqlError>, Scope.Scope>
  /** Effect's client, and the transactions, over both. */
  readonly client: Client.Client
  /** The connection that a fiber holds already, for a database in memory, which has no other. */
  readonly held: Context.Service<Held, Held>
  readonly commits: Commits
}

/** The reader that a fiber has already: in a transaction, or for a database in memory. Its reads have to run there. */
export const readerOf = (pools: Pools, fiber: Fiber.Fiber<unknown, unknown>): SqliteSyncReader | undefined => {
  const connection = pools.client.connectionInTransaction(fiber) ?? heldBy(pools, fiber)?.connection
  return connection && new ReaderView(connection, refusalOf(pools, fiber))
}

/** Why a write is refused. The reason names the outermost thing that forbids it: database, transaction or reader. */
const refusalOf = ({ client, settings }: Pools, fiber: Fiber.Fiber<unknown, unknown>): string => {
  if (settings.connection.isReadOnly) return Refusal.ofDatabase(settings.name)
  if (client.transactor.connectionOf(fiber)?.mode.readOnly !== true) return Refusal.ofReader(settings.name)
  return fiber.getRef(client.isSnapshot) ? Refusal.ofSnapshot : Refusal.ofTransaction
}

const heldBy = (pools: Pools, fiber: Fiber.Fiber<unknown, unknown>): Held | undefined =>
  pools.file === undefined ? Context.getOrUndefined(fiber.context, pools.held) : undefined

/**
 * The connection on which the writes of a fiber have to run, if it has one already. In a transaction that is the
 * connection of the transaction, even if that only reads and so refuses the write: elsewhere, the write would neither
 * be visible in the transaction nor be rolled back with it.
 *
 * For a database in memory, a fiber that reads holds the only connection, and writes on it.
 */
export const writerOf = (pools: Pools, fiber: Fiber.Fiber<unknown, unknown>): Connection | undefined => {
  const connection = pools.client.connectionInTransaction(fiber)
  if (connection !== undefined) return connection
  const held = heldBy(pools, fiber)
  return held?.side === "read" ? held.connection : undefined
}

let nextId = 1

/** Opens the pools for the current scope. It closes the readers before the writer, so that the writer moves the log. */
export const make = Effect.fnUntraced(function*(
  settings: PoolSettings,
  decorate?: Client.Decorate
): Effect.fn.Return<Pools, PoolConfigError | ConnectError<SqlError>, Scope.Scope> {
  const id = nextId++
  const { watched, ...sides } = yield* open(settings)
  const held = Context.Service<Held, Held>(`effect-connection-pool/sqlite/held/${id}`)
  const { file, readers, workers, workerWriter, writer } = sides
  const acquireReader: Pools["acquireReader"] = (options) =>
    sides.file === undefined
      ? writer.acquire(options)
      : Effect.andThen(sides.file.gate.await, readers.acquire(options))
  const own = yield* reactivity
  const client = yield* Client.make({
    name: settings.name,
    writer,
    workerWriter,
    // For a database in memory, the client must see that both are the same pool.
    reader: readers === writer ? writer : { ...readers, acquire: acquireReader },
    workers: workers && file && {
      reads: new WorkerReads(pinning(file, workers)),
      execution: settings.execution,
      now: () => file.pins.now()
    },
    busyTimeoutMillis: settings.connection.busyTimeout,
    decorate,
    isReadOnly: settings.connection.isReadOnly,
    heldBy: settings.connection.isMemory ? (fiber) => Context.getOrUndefined(fiber.context, held) : undefined,
    look: watched && (() => watched.look()),
    bulk: sides.file && BulkCommit.make(sides.file),
    // In memory there is no commit to share, and where the database is only read, there is none at all.
    isGrouped: settings.groupCommit && !settings.connection.isMemory && !settings.connection.isReadOnly,
    ...settings.client
  }).pipe(Effect.provideService(Reactivity.Reactivity, own))
  yield* Effect.addFinalizer(() => client.close)
  yield* Effect.addFinalizer(() => Effect.sync(() => sides.commits.end()))
  // The pools can be shut down one by one, and an observation that waits for a commit would not notice.
  Door.of(sides.writer)?.whenShutDown(() => sides.commits.end())
  Door.of(sides.readers)?.whenShutDown(() => sides.commits.endReading("in-process"))
  if (workers !== undefined) Door.of(workers)?.whenShutDown(() => sides.commits.endReading("worker"))
  const { tellReactivity: keyOf } = settings
  if (keyOf !== undefined) yield* ToldReactivity.tell({ commits: sides.commits, readers, reactivity: own, keyOf })
  return { settings, ...sides, acquireReader, client, held }
})

/** A pool whose `acquire` is for callers that will pin a state of the database: they wait while the log is cut back. */
export const pinning = (file: SharedFile, workers: WorkerPool): WorkerPool => ({
  ...workers,
  acquire: (options) => Effect.andThen(file.gate.await, workers.acquire(options))
})

/** The `Reactivity` of the application, if it has one, so that its queries see the writes of this client. */
const reactivity = Effect.flatMap(
  Effect.serviceOption(Reactivity.Reactivity),
  Option.match({ onNone: () => Reactivity.make, onSome: Effect.succeed })
)

const open = Effect.fnUntraced(function*(settings: PoolSettings) {
  const lasting = lastingOptions(settings)
  const unasked = unaskedOptions(settings)
  if (settings.isOneConnection && !settings.connection.isMemory) {
    const file = new SharedFile(settings, yield* Effect.context<never>())
    const pool = yield* ConnectionPool.make({
      ...unasked,
      factory: file.writerFactory,
      name: settings.name,
      min: 1,
      max: 1
    })
    sized(pool, null)
    return { ...oneSide(pool), file: undefined, watched: file, commits: file.commits }
  }
  if (settings.connection.isMemory) {
    // Nobody else has this database, so nobody else is asked.
    const commits = new Commits(Infinity, yield* Effect.context<never>(), () => {})
    const pool = yield* ConnectionPool.make({
      ...lasting,
      factory: inMemory(settings.connection, commits),
      name: settings.name,
      min: 1,
      max: 1,
      idleTimeout: Infinity
    })
    sized(pool, null)
    // The data would be lost with its connection.
    const kept: Pool = { ...pool, invalidate: () => Effect.succeed(false), recycle: Effect.succeed(0) }
    return { ...oneSide(kept), file: undefined, watched: undefined, commits }
  }
  const file = new SharedFile(settings, yield* Effect.context<never>())
  yield* Effect.addFinalizer(() => Effect.sync(() => file.pins.stop()))
  if (settings.connection.isReadOnly) {
    const pool = yield* ConnectionPool.make({
      ...unasked,
      factory: file.readerFactory,
      name: settings.name,
      min: 1,
      max: settings.readers,
      idleTimeout: settings.idleTimeout
    })
    sized(pool, "readers")
    advised(pool, settings, "readers")
    const workers = yield* openWorkers(settings, file)
    return { writer: pool, workerWriter: undefined, readers: pool, workers, file, watched: file, commits: file.commits }
  }
  const { workerWriter, writer } = yield* openWriter(settings, file)
  const readers = yield* ConnectionPool.make({
    ...unasked,
    factory: file.readerFactory,
    name: `${settings.name}/readers`,
    min: 0,
    max: settings.readers,
    idleTimeout: settings.idleTimeout
  })
  sized(writer, null)
  sized(readers, "readers")
  advised(writer, settings, "writer")
  advised(readers, settings, "readers")
  showLog(writer, file)
  const workers = yield* openWorkers(settings, file)
  return { writer, workerWriter, readers, workers, file, watched: file, commits: file.commits }
})

/** The pool of the connection that writes. */
const openWriter = Effect.fnUntraced(function*(settings: PoolSettings, file: SharedFile) {
  const options = { ...unaskedOptions(settings), name: `${settings.name}/writer`, min: 1, max: 1 }
  if (settings.writerExecution === "in-process") {
    const writer: Pool = yield* ConnectionPool.make({ ...options, factory: file.writerFactory })
    return { writer, workerWriter: undefined }
  }
  // A second writer could only wait for the lock of one that is abandoned.
  const workerWriter: WorkerPool = yield* ConnectionPool.make({
    ...options,
    factory: file.workerWriterFactory,
    maxAbandoned: 0
  })
  if (settings.groupCommit) Door.of(workerWriter)?.showGroups()
  return { writer: workerWriter as unknown as Pool, workerWriter }
})

/** The same pool for what reads and for what writes. */
const oneSide = (pool: Pool) => ({ writer: pool, workerWriter: undefined, readers: pool, workers: undefined })

/** The pool of the readers in threads, if the database has any. It starts none before one is needed. */
const openWorkers = Effect.fnUntraced(function*(settings: PoolSettings, file: SharedFile) {
  if (settings.workers === 0) return undefined
  const workers = yield* ConnectionPool.make({
    ...unaskedOptions(settings),
    factory: file.workerFactory,
    name: `${settings.name}/workers`,
    min: 0,
    max: settings.workers,
    maxAbandoned: settings.maxAbandoned,
    idleTimeout: settings.idleTimeout
  })
  sized(workers, "workers")
  return workers
})

/** The options of pools whose connections have no end of their own. */
const lastingOptions = ({ connection, pool }: PoolSettings) => ({
  ...pool,
  maxLifetime: Infinity,
  connectTimeout: connection.busyTimeout + 10_000
})

/** The same, where only a health checker validates, because a file does not disappear as often as a server. */
const unaskedOptions = (settings: PoolSettings) => ({ ...lastingOptions(settings), validateAfterIdle: Infinity })

/** Says which option of the database, if any, gives a pool more connections. */
const sized = (pool: object, option: string | null): void => Door.of(pool)?.sizedBy(option)

/** Has the warning of a slow statement in process say how such a statement runs on a worker. */
const advised = (pool: object, settings: PoolSettings, side: "writer" | "readers"): void => {
  const advice = adviceFor(settings, side)
  if (advice !== undefined) Door.of(pool)?.adviseOnSlow(advice)
}

/** Shows the size of the log in the metrics of a pool. */
const showLog = (pool: Pool, { file, settings }: SharedFile): void =>
  Door.of(pool)?.showLog({ bytes: () => file.walBytes, limitBytes: settings.walLimit })

/** Opens the database once: a second connection would have another, empty database. */
const inMemory = (settings: Settings, commits: Commits) => {
  let wasOpened = false
  const open = Effect.suspend(() => {
    if (wasOpened) return Effect.fail(toSqlError(failed("open", `${nameOf(settings)} is gone with its connection`)))
    return Effect.tap(openWith(settings), (connection) =>
      Effect.sync(() => {
        wasOpened = true
        commits.opened(handleOf(connection))
      }))
  })
  return factoryOf(open, true)
}
