/**
 * One database file, and all connections to it: how they are opened and lent, so that none of them works on a file that is
 * not at its place any more, none holds on to the log for too long, and somebody hears of it when the log has grown.
 */
import { type Context, Effect, Latch, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Stats } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import type { ConnectionFactory } from "../../../ConnectionFactory.ts"
import * as SqliteConnection from "../../SqliteConnection.ts"
import { unconnected } from "../connection/errors.ts"
import type { Handle } from "../connection/handle.ts"
import * as Refusal from "../connection/refusal.ts"
import { mayStartLater } from "../connection/retryWhileLocked.ts"
import { nameOf, type Settings } from "../options/connection.ts"
import type { PoolSettings } from "../options/pool.ts"
import { DatabaseFile, type Problem } from "./databaseFile.ts"
import { ReadAges, revoke } from "./pins.ts"

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
  #left: string | undefined

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
      reset: (kept) => this.#reset(kept, writing.reset!(kept)),
      validate: (kept: Connection) => Effect.sync(() => this.#answers(kept)),
      beginLease: (kept: Connection, pool: string) => {
        this.#look(this.ages.now())
        const lent = writing.beginLease!(kept, pool)
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
      reset: (kept) => this.#reset(kept, reading.reset!(kept)),
      validate: (kept: Connection) => Effect.sync(() => this.#answers(kept)),
      beginLease: (kept: Connection, pool: string) => {
        const now = this.ages.now()
        this.#look(now)
        const lent = reading.beginLease!(kept, pool)
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

  /** Why all connections were closed, if they were since this was asked last. */
  takeLeft(): string | undefined {
    const left = this.#left
    this.#left = undefined
    return left
  }

  /** Opens a connection. Those to a file that is not the one at its place any more are closed first. */
  #connect(settings: Settings): Effect.Effect<Connection, SqlError, Scope.Scope> {
    let before: Stats | undefined
    const open = Effect.suspend(() => {
      const { refusal } = this.file
      if (refusal !== undefined) {
        return Effect.fail(unconnected("open", `cannot open ${nameOf(settings)}: ${refusal}`))
      }
      before = this.file.present
      return SqliteConnection.openWith(settings, this.#handles.size === 0)
    })
    return Effect.suspend(() => {
      const { problem } = this.file
      if (problem !== undefined) this.#leave(problem)
      let handle: Handle | undefined
      // Runs when it is closed: what is registered last is released first.
      const forget = Effect.sync(() => {
        if (handle !== undefined) this.#handles.delete(handle)
      })
      const register = (connection: Connection) =>
        Effect.sync(() => {
          handle = SqliteConnection.handleOf(connection)
          this.file.note(before, this.#handles.size === 0)
          this.#handles.set(handle, settings.isReadOnly ? "reads" : "writes")
        })
      return Effect.andThen(Effect.addFinalizer(() => forget), Effect.tap(open, register))
    })
  }

  /** Whether a connection can read the file that is at its place. One that others have locked it can read later. */
  #answers(kept: Connection): boolean {
    if (this.file.problem !== undefined) return false
    try {
      kept.valuesUnsafe("select 1 from sqlite_schema limit 1")
      return true
    } catch (thrown) {
      return mayStartLater(SqliteConnection.codeOf(thrown))
    }
  }

  /** A connection that is alone, and is opened anew, has SQLite delete the log and make another. */
  #reset<E>(kept: Connection, reset: Effect.Effect<void, E>): Effect.Effect<void, E> {
    return Effect.suspend(() => {
      if (this.#handles.size > 1 || !SqliteConnection.handleOf(kept).isAltered) return reset
      this.file.forgetLog()
      return Effect.tap(reset, Effect.sync(() => this.file.noteLog()))
    })
  }

  /** Throws if the file, or what belongs to it, is not what was opened. */
  #look(now: number): void {
    const problem = this.file.recentProblem(now)
    if (problem !== undefined) throw new Error(this.#leave(problem))
  }

  /**
   * Closes all connections to a file that is not at its place, and ends the leases of those who work with them. Says why.
   *
   * All at once: what is left open when another file is there would take the log of that one for its own.
   */
  #leave(problem: Problem): string {
    const reason = `${nameOf(this.settings.connection)} ${problem.text}`
    this.ages.revokeAll(reason)
    for (const lent of this.#writers) revoke(lent, reason)
    this.#writers.clear()
    if (problem.kind === "emptied") this.#closeAsItIs()
    else {
      for (const handle of this.#of("reads")) handle.abandon()
      // What is in the log was committed, and goes to the file that it belongs to, wherever that is. Beside another file it
      // would destroy that one, whoever opens it.
      const isLogLeft = this.file.isLogLeft
      for (const handle of this.#of("writes")) {
        if (problem.kind === "log") handle.emptyLog()
        else if (isLogLeft) handle.endLog()
        handle.abandon()
      }
    }
    this.file.leave(problem)
    this.#left = reason
    this.attention.openUnsafe()
    return reason
  }

  /** Closes all connections, and has none of them move the log to what is there instead of the file. */
  #closeAsItIs(): void {
    const guard = guardOf(this.settings.connection.filename)
    for (const kind of ["writes", "reads"] as const) for (const handle of this.#of(kind)) handle.abandon()
    guard?.close()
  }

  #of(kind: "reads" | "writes"): Array<Handle> {
    return [...this.#handles].filter(([, its]) => its === kind).map(([handle]) => handle)
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

/** A lock on a file, so that no other connection is the last one that closes it; who is moves the log to the file. */
const guardOf = (filename: string): DatabaseSync | undefined => {
  const guard = new DatabaseSync(filename, { readOnly: true, timeout: 0 })
  try {
    guard.exec("begin; select 1 from sqlite_schema limit 1")
    return guard
  } catch {
    // It is no database any more.
    guard.close()
    return undefined
  }
}

/** Looking at the log costs a third of a small write. */
const writesPerMeasure = 32
/** In milliseconds. */
const measurePause = 100
