/**
 * The two pools of a SQLite database: one connection that writes, and some that read. In memory both are one pool of one
 * connection; of a file that is only read both are one pool of readers.
 *
 * Everything that works on the database gets its connections here, and finds here the connection that a fiber has already.
 */
import { Context, Effect, type Fiber, Option, type Scope } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlError } from "effect/sql/SqlError"
import * as ConnectionPool from "../../ConnectionPool.ts"
import type { ConnectError, PoolConfigError, PoolError } from "../../PoolError.ts"
import type { SqliteReader } from "../SqliteReader.ts"
import * as Client from "./client/client.ts"
import type { Held } from "./client/targets.ts"
import { factoryOf, openWith } from "./connection/factory.ts"
import { ReaderView } from "./connection/readerView.ts"
import * as Refusal from "./connection/refusal.ts"
import type { SqliteConnection as Connection } from "./contract/connection.ts"
import { failed } from "./errors.ts"
import { SharedFile } from "./file/connections.ts"
import type { Pool, Sides } from "./file/sides.ts"
import { nameOf, type Settings } from "./options/connection.ts"
import type { PoolSettings } from "./options/pool.ts"

export interface Pools extends Sides {
  /** Acquires a reader for a caller that will pin a state of the database. May wait while the log is cut back. */
  readonly acquireReader: (
    options?: ConnectionPool.AcquireOptions | undefined
  ) => Effect.Effect<Connection, PoolError<SqlError>, Scope.Scope>
  /** Effect's client, and the transactions, over both. */
  readonly client: Client.Client
  /** In memory, the connection that a fiber has already: there is no other. */
  readonly held: Context.Service<Held, Held>
}

/** The connection that a fiber has already, on which its reads have to run, as a reader. */
export const readerOf = (pools: Pools, fiber: Fiber.Fiber<unknown, unknown>): SqliteReader | undefined => {
  const connection = pools.client.connectionInTransaction(fiber) ?? heldBy(pools, fiber)?.connection
  return connection && new ReaderView(connection, refusalOf(pools, fiber))
}

/** Why a write is refused: the reason names the outermost thing that forbids it. */
const refusalOf = ({ client, settings }: Pools, fiber: Fiber.Fiber<unknown, unknown>): string => {
  if (settings.connection.isReadOnly) return Refusal.ofDatabase(settings.name)
  if (client.transactor.connectionOf(fiber)?.mode.readOnly !== true) return Refusal.ofReader(settings.name)
  return fiber.getRef(client.isSnapshot) ? Refusal.ofSnapshot : Refusal.ofTransaction
}

const heldBy = (pools: Pools, fiber: Fiber.Fiber<unknown, unknown>): Held | undefined =>
  pools.file === undefined ? Context.getOrUndefined(fiber.context, pools.held) : undefined

/**
 * The connection of the transaction that a fiber is in, so that what it writes has to be written there. One that only reads
 * refuses that: written elsewhere, it would neither be seen in the transaction nor be undone with it.
 *
 * In memory, what reads has the only connection there is, and writes on it as it would on another.
 */
export const writerOf = (pools: Pools, fiber: Fiber.Fiber<unknown, unknown>): Connection | undefined => {
  const connection = pools.client.connectionInTransaction(fiber)
  if (connection !== undefined) return connection
  const held = heldBy(pools, fiber)
  return held?.side === "read" ? held.connection : undefined
}

let nextId = 1

/** Opens the pools for the current scope, which closes the readers first: the connection that closes last moves the log. */
export const make = Effect.fnUntraced(function*(
  settings: PoolSettings,
  decorate?: Client.Decorate
): Effect.fn.Return<Pools, PoolConfigError | ConnectError<SqlError>, Scope.Scope> {
  const id = nextId++
  const { watched, ...sides } = yield* open(settings)
  const held = Context.Service<Held, Held>(`effect-connection-pool/sqlite/held/${id}`)
  const { readers, writer } = sides
  const acquireReader: Pools["acquireReader"] = (options) =>
    sides.file === undefined
      ? writer.acquire(options)
      : Effect.andThen(sides.file.gate.await, readers.acquire(options))
  const client = yield* Client.make({
    name: settings.name,
    writer,
    // There, it has to be seen that they are the same.
    reader: readers === writer ? writer : { ...readers, acquire: acquireReader },
    busyTimeoutMillis: settings.connection.busyTimeout,
    decorate,
    isReadOnly: settings.connection.isReadOnly,
    heldBy: settings.connection.isMemory ? (fiber) => Context.getOrUndefined(fiber.context, held) : undefined,
    look: watched && (() => watched.look()),
    ...settings.client
  }).pipe(Effect.provideService(Reactivity.Reactivity, yield* reactivity))
  yield* Effect.addFinalizer(() => client.close)
  return { settings, ...sides, acquireReader, client, held }
})

/** That of the application, so that others hear of what is written here. */
const reactivity = Effect.flatMap(
  Effect.serviceOption(Reactivity.Reactivity),
  Option.match({ onNone: () => Reactivity.make, onSome: Effect.succeed })
)

const open = Effect.fnUntraced(function*(settings: PoolSettings) {
  const lasting = { ...settings.pool, maxLifetime: Infinity, connectTimeout: settings.connection.busyTimeout + 10_000 }
  // Only a health checker validates: a file does not go away as a server does.
  const unasked = { ...lasting, validateAfterIdle: Infinity }
  if (settings.isOneConnection && !settings.connection.isMemory) {
    const file = new SharedFile(settings, yield* Effect.context<never>())
    const pool = yield* ConnectionPool.make({
      ...unasked,
      factory: file.writerFactory,
      name: settings.name,
      min: 1,
      max: 1
    })
    return { writer: pool, readers: pool, file: undefined, watched: file }
  }
  if (settings.connection.isMemory) {
    const pool = yield* ConnectionPool.make({
      ...lasting,
      factory: inMemory(settings.connection),
      name: settings.name,
      min: 1,
      max: 1,
      idleTimeout: Infinity
    })
    // The data would be gone with its connection.
    const kept: Pool = { ...pool, invalidate: () => Effect.succeed(false), recycle: Effect.succeed(0) }
    return { writer: kept, readers: kept, file: undefined, watched: undefined }
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
    return { writer: pool, readers: pool, file, watched: file }
  }
  const writer = yield* ConnectionPool.make({
    ...unasked,
    factory: file.writerFactory,
    name: `${settings.name}/writer`,
    min: 1,
    max: 1
  })
  const readers = yield* ConnectionPool.make({
    ...unasked,
    factory: file.readerFactory,
    name: `${settings.name}/readers`,
    min: 0,
    max: settings.readers,
    idleTimeout: settings.idleTimeout
  })
  return { writer, readers, file, watched: file }
})

/** Opens the database once: another connection would have another database, and an empty one. */
const inMemory = (settings: Settings) => {
  let wasOpened = false
  const open = Effect.suspend(() => {
    if (wasOpened) return Effect.fail(failed("open", `${nameOf(settings)} is gone with its connection`))
    return Effect.tap(
      openWith(settings),
      Effect.sync(() => {
        wasOpened = true
      })
    )
  })
  return factoryOf(open, true)
}
