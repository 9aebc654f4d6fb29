/**
 * The pools behind a SQLite database: one connection that writes, and some that read. In memory they are the same pool
 * of one connection, and of a file that is only read the same pool of some.
 *
 * Everything that works on the database has its connections from here, and finds here the connection that a fiber works
 * on already.
 */
import { Context, Effect, type Fiber, Latch, Option, type Scope } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlError } from "effect/sql/SqlError"
import * as ConnectionPool from "../../ConnectionPool.ts"
import type { ConnectError, PoolConfigError } from "../../PoolError.ts"
import * as SqliteConnection from "../SqliteConnection.ts"
import type { SqliteReader } from "../SqliteReader.ts"
import * as Client from "./client.ts"
import { DatabaseFile } from "./databaseFile.ts"
import type { Handle } from "./handle.ts"
import type { PoolSettings } from "./poolSettings.ts"
import { ReadAges, revoke } from "./readAges.ts"
import { ReaderView } from "./readerView.ts"
import { nameOf, type Settings } from "./settings.ts"
import { unconnected } from "./sqlError.ts"

type Connection = SqliteConnection.SqliteConnection
type Pool = ConnectionPool.ConnectionPool<Connection, SqlError>

export interface TwoPools {
  readonly settings: PoolSettings
  readonly writer: Pool
  readonly readers: Pool
  /** Nothing where one connection does everything. */
  readonly file: SharedFile | undefined
  /** Effect's client, and the transactions, over both. */
  readonly client: Client.Client
  /** In memory, the connection that a fiber has for other reasons than a transaction: there is no other. */
  readonly held: Context.Service<Connection, Connection>
  /** What a transaction asks for when it takes its connection. */
  readonly wanted: Context.Reference<ConnectionPool.AcquireOptions | undefined>
}

/** What a fiber works on already, so that what it reads has to be read there. */
export const readerOf = (pools: TwoPools, fiber: Fiber.Fiber<unknown, unknown>): SqliteReader | undefined => {
  const connection = pools.client.joined(fiber) ??
    (pools.file === undefined ? Context.getOrUndefined(fiber.context, pools.held) : undefined)
  return connection && new ReaderView(connection)
}

/**
 * The connection of the transaction that a fiber is in, so that what it writes has to be written there. One that only reads
 * refuses that: written elsewhere, it would neither be seen in the transaction nor be undone with it.
 */
export const writerOf = (pools: TwoPools, fiber: Fiber.Fiber<unknown, unknown>): Connection | undefined =>
  pools.client.joined(fiber)

let nextId = 1

/** Opens the pools for the current scope, which closes the readers first: who closes last can tidy up the log. */
export const make = Effect.fnUntraced(function*(
  settings: PoolSettings
): Effect.fn.Return<TwoPools, PoolConfigError | ConnectError<SqlError>, Scope.Scope> {
  const id = nextId++
  const sides = yield* open(settings)
  const wanted = Context.Reference<ConnectionPool.AcquireOptions | undefined>(
    `effect-connection-pool/sqlite/wanted/${id}`,
    { defaultValue: () => undefined }
  )
  const asWanted = (pool: Pool): Pool => ({
    ...pool,
    acquire: Effect.withFiber((fiber) => {
      const options = fiber.getRef(wanted)
      return options === undefined ? pool.acquire : pool.acquireWith(options)
    })
  })
  const writer = asWanted(sides.writer)
  const client = yield* Client.make({
    name: settings.name,
    writer,
    // There, it has to be seen that they are the same.
    reader: sides.readers === sides.writer ? writer : asWanted(sides.readers),
    busyTimeout: settings.connection.busyTimeout,
    isReadOnly: settings.connection.isReadOnly,
    ...settings.client
  }).pipe(Effect.provideService(Reactivity.Reactivity, yield* reactivity))
  yield* Effect.addFinalizer(() => client.close)
  const held = Context.Service<Connection, Connection>(`effect-connection-pool/sqlite/held/${id}`)
  return { settings, ...sides, client, held, wanted }
})

/** That of the application, so that others hear of what is written here. */
const reactivity = Effect.flatMap(
  Effect.serviceOption(Reactivity.Reactivity),
  Option.match({ onNone: () => Reactivity.make, onSome: Effect.succeed })
)

const open = Effect.fnUntraced(function*(settings: PoolSettings) {
  const lasting = { ...settings.pool, maxLifetime: Infinity, connectTimeout: settings.connection.busyTimeout + 10_000 }
  if (settings.isOneConnection) {
    const pool = yield* ConnectionPool.make({
      ...lasting,
      factory: settings.connection.isMemory
        ? inMemory(settings.connection)
        : SqliteConnection.factoryOf(SqliteConnection.openWith(settings.connection), true),
      name: settings.name,
      min: 1,
      max: 1,
      idleTimeout: Infinity
    })
    return { writer: pool, readers: pool, file: undefined }
  }
  const file = new SharedFile(settings, yield* Effect.context<never>())
  yield* Effect.addFinalizer(() => Effect.sync(() => file.ages.stop()))
  if (settings.connection.isReadOnly) {
    const pool = yield* ConnectionPool.make({
      ...lasting,
      factory: file.reading,
      name: settings.name,
      min: 1,
      max: settings.readers,
      idleTimeout: settings.idleTimeout
    })
    return { writer: pool, readers: pool, file }
  }
  const writer = yield* ConnectionPool.make({
    ...lasting,
    factory: file.writing,
    name: `${settings.name}/writer`,
    min: 1,
    max: 1
  })
  const readers = yield* ConnectionPool.make({
    ...lasting,
    factory: file.reading,
    name: `${settings.name}/readers`,
    min: 0,
    max: settings.readers,
    idleTimeout: settings.idleTimeout
  })
  return { writer, readers, file }
})

/** Opens the database once: another connection would have another database, and an empty one. */
const inMemory = (settings: Settings) => {
  let wasOpened = false
  const open = Effect.suspend(() => {
    if (wasOpened) return Effect.fail(unconnected("open", `${nameOf(settings)} is gone with its connection`))
    return Effect.tap(
      SqliteConnection.openWith(settings),
      Effect.sync(() => {
        wasOpened = true
      })
    )
  })
  return SqliteConnection.factoryOf(open, true)
}

/** One file, and all connections to it. */
export class SharedFile {
  readonly settings: PoolSettings
  readonly file: DatabaseFile
  readonly ages: ReadAges
  readonly writing
  readonly reading
  /** Opened when somebody should see to the file: its log has grown, or it is not at its place. */
  readonly attention = Latch.makeUnsafe(false)
  readonly #writers = new Set<Connection>()
  readonly #handles = new Map<Handle, "reads" | "writes">()
  #measuredAt = -Infinity
  #writesSinceMeasured = 0
  #isMisplaced = false

  constructor(settings: PoolSettings, context: Context.Context<never>) {
    const { connection } = settings
    this.settings = settings
    this.file = new DatabaseFile(connection.filename)
    const warn = Effect.runForkWith(context)
    this.ages = new ReadAges(settings.maxReadAge, context, (heldMillis) => {
      warn(Effect.annotateLogs(
        Effect.logWarning(
          `a read was ended that had held on to its state of the database for ${Math.round(heldMillis)} ms (maxReadAge)`
        ),
        "pool",
        `${settings.name}/readers`
      ))
    })
    const writing = SqliteConnection.factoryOf(this.#connect(connection), true)
    this.writing = {
      ...writing,
      beginLease: (kept: Connection) => {
        this.#look(this.ages.now())
        const lent = writing.beginLease!(kept)
        this.#writers.add(lent)
        return lent
      },
      endLease: (lent: Connection) => {
        this.#writers.delete(lent)
        this.#measure(this.ages.now())
        writing.endLease!(lent)
      }
    }
    const reading = SqliteConnection.factoryOf(this.#connect({ ...connection, isReadOnly: true }), true)
    this.reading = {
      ...reading,
      beginLease: (kept: Connection) => {
        const now = this.ages.now()
        this.#look(now)
        const lent = reading.beginLease!(kept)
        this.ages.begin(lent, now)
        return lent
      },
      endLease: (lent: Connection) => {
        this.ages.end(lent)
        reading.endLease!(lent)
      }
    }
  }

  /** Whether the log is so long that it should be cut back: early, for it goes on growing until it is. */
  get isWalLong(): boolean {
    return this.file.walBytes > this.settings.walLimit / 2
  }

  /** Whether a reader holds on to a state of the database, so that the log is needed. */
  get isPinned(): boolean {
    for (const [handle, kind] of this.#handles) if (kind === "reads" && handle.pins) return true
    return false
  }

  /** Whether the file turned out to be another, or none; asking forgets it. */
  takeMisplaced(): boolean {
    const was = this.#isMisplaced
    this.#isMisplaced = false
    return was
  }

  /** Opens a connection. Those to a file that is not at its place any more are closed first. */
  #connect(settings: Settings): Effect.Effect<Connection, SqlError, Scope.Scope> {
    const open = Effect.suspend(() =>
      this.file.isGone ? Effect.fail(gone(settings)) : SqliteConnection.openWith(settings)
    )
    return Effect.suspend(() => {
      if (!this.file.isInPlace) this.#leave()
      let handle: Handle | undefined
      // Runs when it is closed: what is registered last is released first.
      const forget = Effect.sync(() => {
        if (handle !== undefined) this.#handles.delete(handle)
      })
      const register = (connection: Connection) =>
        Effect.sync(() => {
          handle = SqliteConnection.handleOf(connection)
          this.#handles.set(handle, settings.isReadOnly ? "reads" : "writes")
          this.file.note()
        })
      return Effect.andThen(Effect.addFinalizer(() => forget), Effect.tap(open, register))
    })
  }

  /** Throws if the file is not at its place. */
  #look(now: number): void {
    if (!this.file.wasInPlace(now)) throw new Error(this.#leave())
  }

  /**
   * Closes all connections to a file that is not at its place, and ends the leases of those who work with them. Says why.
   *
   * All at once: what is left open when another file is there would take the log of that one for its own.
   */
  #leave(): string {
    const reason = `${nameOf(this.settings.connection)} was moved, replaced or deleted`
    this.ages.revokeAll(reason)
    for (const lent of this.#writers) revoke(lent, reason)
    this.#writers.clear()
    for (const kind of ["reads", "writes"]) {
      for (const [handle, its] of this.#handles) if (its === kind) handle.abandon()
    }
    this.file.forget()
    this.#isMisplaced = true
    this.attention.openUnsafe()
    return reason
  }

  /** Has a look at the log now and then. */
  #measure(now: number): void {
    if (this.settings.walLimit === Infinity) return
    if (++this.#writesSinceMeasured < writesPerMeasure && now - this.#measuredAt < measurePause) return
    this.#writesSinceMeasured = 0
    this.#measuredAt = now
    if (this.isWalLong) this.attention.openUnsafe()
  }
}

const gone = (settings: Settings): SqlError =>
  unconnected("open", `cannot open ${nameOf(settings)}: the file was there and is gone`)

/** Looking at the log costs a third of a small write. */
const writesPerMeasure = 32
/** In milliseconds. */
const measurePause = 100
