/**
 * One database file, and all connections to it: how they are opened and lent, so that none of them works on a file that is
 * not at its place any more, none holds on to the log for too long, and somebody hears of it when the log has grown.
 */
import { type Context, Effect, Latch, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { ConnectionFactory } from "../../ConnectionFactory.ts"
import * as SqliteConnection from "../SqliteConnection.ts"
import { DatabaseFile } from "./databaseFile.ts"
import type { Handle } from "./handle.ts"
import { mayStartLater } from "./locks.ts"
import type { PoolSettings } from "./poolSettings.ts"
import { ReadAges, revoke } from "./readAges.ts"
import * as Refusal from "./refusal.ts"
import { nameOf, type Settings } from "./settings.ts"
import { unconnected } from "./sqlError.ts"

type Connection = SqliteConnection.SqliteConnection

/** What the pools ask of a connection to a file, whether somebody looks after their health or not. */
type Factory = ConnectionFactory<Connection, SqlError> & {
  readonly validate: (connection: Connection) => Effect.Effect<boolean>
}

export class SharedFile {
  readonly settings: PoolSettings
  readonly file: DatabaseFile
  readonly ages: ReadAges
  readonly writing: Factory
  readonly reading: Factory
  /** Closed while nobody is to begin to hold on to a state of the database: whoever wants to waits here. */
  readonly gate = Latch.makeUnsafe(true)
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
      validate: (kept: Connection) => Effect.sync(() => this.#answers(kept)),
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
    const refusal = connection.isReadOnly ? Refusal.ofDatabase(settings.name) : Refusal.ofReader(settings.name)
    const reading = SqliteConnection.factoryOf(this.#connect({ ...connection, isReadOnly: true, refusal }), true)
    this.reading = {
      ...reading,
      validate: (kept: Connection) => Effect.sync(() => this.#answers(kept)),
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

  /** Whether a connection can read the file that is at its place. One that others have locked it can read later. */
  #answers(kept: Connection): boolean {
    if (!this.file.isInPlace) return false
    try {
      kept.valuesUnsafe("select 1 from sqlite_schema limit 1")
      return true
    } catch (thrown) {
      return mayStartLater(SqliteConnection.codeOf(thrown))
    }
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
