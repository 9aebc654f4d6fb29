/**
 * All connections to one database file. No connection works on a file that was moved or replaced, no lease pins a state
 * of the database for too long, and `attention` tells when the log has grown.
 */
import { type Context, Effect, Latch, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Stats } from "node:fs"
import type { ConnectionFactory } from "../../../ConnectionFactory.ts"
import { factoryOf, openWith } from "../connection/factory.ts"
import type { Handle } from "../connection/handle.ts"
import { handleOf, pinningOf } from "../connection/leased.ts"
import type { Pinning } from "../connection/pin.ts"
import * as Refusal from "../connection/refusal.ts"
import { mayStartLater } from "../connection/retryWhileLocked.ts"
import type { SqliteConnection as Connection } from "../contract/connection.ts"
import { codeOf, toSqlError } from "../errors.ts"
import { Failure, unconnected } from "../failures.ts"
import type { Settings } from "../options/connection.ts"
import { nameOf } from "../options/nameOf.ts"
import type { PoolSettings } from "../options/pool.ts"
import { open as openWorker, workerFactoryOf } from "../worker/factory.ts"
import type { LeaveRequest } from "../worker/protocol.ts"
import type { Thread } from "../worker/thread.ts"
import { answers, type WorkerLeased } from "../worker/workerConnection.ts"
import { Commits } from "./commits.ts"
import { DatabaseFile, type Problem } from "./databaseFile.ts"
import { guardOf } from "./guard.ts"
import { Pins, poolOf, revoke } from "./pins.ts"

/** A factory with `validate`, which a health checker uses. The pools themselves do not validate. */
type Factory = ConnectionFactory<Connection, SqlError> & {
  readonly validate: (connection: Connection) => Effect.Effect<boolean>
}

type WorkerFactory = ConnectionFactory<WorkerLeased, SqlError>

export class SharedFile {
  readonly settings: PoolSettings
  readonly file: DatabaseFile
  readonly pins: Pins
  readonly commits: Commits
  readonly writerFactory: Factory
  readonly readerFactory: Factory
  /** Readers in threads. */
  readonly workerFactory: WorkerFactory
  /** A writer in a thread. */
  readonly workerWriterFactory: WorkerFactory
  /** Callers that will pin a state of the database wait here. Closed while the log is cut back. */
  readonly gate = Latch.makeUnsafe(true)
  /** Opened when the file needs care: its log has grown, or the file was moved or replaced. */
  readonly attention = Latch.makeUnsafe(false)
  /** The leases of connections that write. */
  readonly #writers = new Set<Pinning>()
  /** The open connections of this thread. */
  readonly #handles = new Map<Handle, "reads" | "writes">()
  /** The threads that have the file open, or are about to open or close it. */
  readonly #threads = new Map<Thread, "reads" | "writes">()
  /** The threads that still close a file that was moved or replaced. What is opened at its path waits for them. */
  readonly #leaving = new Set<Promise<unknown>>()
  /** The connections that are opened or closed now in several steps: by a reset, which opens them again, or in a thread. */
  readonly #reopening = new Set<Handle | Thread>()
  #measuredAt = -Infinity
  #writesSinceMeasured = 0
  #left: string | undefined

  constructor(settings: PoolSettings, context: Context.Context<never>) {
    const { connection } = settings
    this.settings = settings
    this.file = new DatabaseFile(connection.filename, !connection.isImmutable)
    this.commits = new Commits(settings.observeInterval, context, () => this.look())
    const warn = Effect.runForkWith(context)
    this.pins = new Pins(settings.maxReadAge, context, (heldMillis, leased) => {
      warn(Effect.annotateLogs(
        Effect.logWarning(
          `a read was ended that had pinned a state of the database for ${Math.round(heldMillis)} ms (maxReadAge)`
        ),
        "pool",
        poolOf(settings, leased)
      ))
    })
    const writing = factoryOf(this.#connect(connection), true)
    this.writerFactory = {
      ...writing,
      reset: (kept) => this.#reset(kept, writing.reset!(kept)),
      validate: (kept: Connection) => Effect.sync(() => this.#answers(kept)),
      beginLease: (kept: Connection, pool: string) => {
        this.#look(this.pins.now())
        const leased = writing.beginLease!(kept, pool)
        this.#writers.add(pinningOf(leased))
        return leased
      },
      endLease: (leased: Connection) => {
        this.#writers.delete(pinningOf(leased))
        this.#measure(this.pins.now())
        writing.endLease!(leased)
        this.commits.ask()
      }
    }
    const refusal = connection.isReadOnly ? Refusal.ofDatabase(settings.name) : Refusal.ofReader(settings.name)
    const reading = factoryOf(this.#connect({ ...connection, isReadOnly: true, refusal }), true)
    this.readerFactory = {
      ...reading,
      reset: (kept) => this.#reset(kept, reading.reset!(kept)),
      validate: (kept: Connection) => Effect.sync(() => this.#answers(kept)),
      beginLease: (kept: Connection, pool: string) => {
        const now = this.pins.now()
        this.#look(now)
        const leased = reading.beginLease!(kept, pool)
        this.pins.begin(pinningOf(leased), now)
        return leased
      },
      endLease: (leased: Connection) => {
        this.pins.end(pinningOf(leased))
        reading.endLease!(leased)
      }
    }
    const threaded = this.#threaded({ ...connection, isReadOnly: true, refusal })
    this.workerFactory = {
      ...threaded,
      beginLease: (kept, pool) => {
        const now = this.pins.now()
        this.#look(now)
        const leased = threaded.beginLease!(kept, pool)
        this.pins.begin(leased, now)
        return leased
      },
      endLease: (leased) => {
        this.pins.end(leased)
        threaded.endLease!(leased)
      }
    }
    const writingThread = this.#threaded(connection)
    this.workerWriterFactory = {
      ...writingThread,
      beginLease: (kept, pool) => {
        this.#look(this.pins.now())
        const leased = writingThread.beginLease!(kept, pool)
        this.#writers.add(leased)
        return leased
      },
      endLease: (leased) => {
        this.#writers.delete(leased)
        this.#measure(this.pins.now())
        writingThread.endLease!(leased)
        this.commits.ask()
      }
    }
  }

  #threaded(settings: Settings): WorkerFactory {
    const threaded = workerFactoryOf(settings, true, (died) => this.#connectThread(settings, died))
    return {
      ...threaded,
      // Only the thread knows whether it closes the connection and opens it again.
      reset: (kept) => this.#reopen(kept.thread, threaded.reset!(kept)),
      validate: (kept) => Effect.suspend(() => this.file.problem === undefined ? answers(kept) : Effect.succeed(false))
    }
  }

  /** Whether the log should be cut back. At half of `walLimit`, because it grows until it is cut back. */
  get isWalLong(): boolean {
    return this.file.walBytes > this.settings.walLimit / 2
  }

  /** Whether a reader pins a state of the database, so that the log is needed. */
  get isPinned(): boolean {
    for (const handle of this.#handles.keys()) if (handle.isPinning) return true
    for (const { host } of this.#threads.keys()) if (host.mayPin) return true
    return false
  }

  /** Whether no connection of this process has the file open. */
  get #isFirst(): boolean {
    return this.#handles.size + this.#threads.size === 0
  }

  /** Why all connections were closed since the last call, if they were. */
  takeLeft(): string | undefined {
    const left = this.#left
    this.#left = undefined
    return left
  }

  /** Opens a connection. If the file was moved or replaced, closes the connections to the old one first. */
  #connect(settings: Settings): Effect.Effect<Connection, SqlError, Scope.Scope> {
    let before: Stats | undefined
    const open = Effect.suspend(() => {
      const refused = this.#refused(settings)
      if (refused !== undefined) return Effect.fail(refused)
      before = this.file.present
      return openWith(settings, this.#isFirst)
    })
    return this.#once(() => {
      const register = (connection: Connection) =>
        Effect.suspend(() => {
          const handle = handleOf(connection)
          this.file.note(before, this.#isFirst)
          this.#handles.set(handle, settings.isReadOnly ? "reads" : "writes")
          // Where there is a writer, it is the one that commits, and that is asked for the commits of others.
          if (settings.isReadOnly === this.settings.connection.isReadOnly) this.commits.opened(handle)
          return Effect.addFinalizer(() => Effect.sync(() => this.#close(handle)))
        })
      return Effect.uninterruptibleMask((restore) => Effect.tap(restore(open), register))
    })
  }

  /** Opens a connection once no thread has another file open that was at the path. */
  #once<A>(open: () => Effect.Effect<A, SqlError, Scope.Scope>): Effect.Effect<A, SqlError, Scope.Scope> {
    return Effect.suspend(() => {
      const { problem } = this.file
      if (problem !== undefined) this.#leave(problem)
      return this.#leaving.size === 0
        ? open()
        : Effect.andThen(Effect.promise(() => Promise.all(this.#leaving)), this.#once(open))
    })
  }

  /** Why the file must not be opened now, if it must not. */
  #refused(settings: Settings): SqlError | undefined {
    const { refusal } = this.file
    return refusal === undefined
      ? undefined
      : toSqlError(unconnected("open", `cannot open ${nameOf(settings)}: ${refusal}`))
  }

  /** Opens a connection in a thread. From its start on, the thread ends if the file was moved or replaced. */
  #connectThread(settings: Settings, died: () => void): Effect.Effect<WorkerLeased, SqlError, Scope.Scope> {
    return this.#once(() => {
      const refused = this.#refused(settings)
      if (refused !== undefined) return Effect.fail(refused)
      const before = this.file.present
      const isFirst = this.#isFirst
      const opened = openWorker(settings, isFirst, {
        statementTimeout: this.settings.statementTimeout,
        died,
        started: (thread) => {
          this.#threads.set(thread, settings.isReadOnly ? "reads" : "writes")
          // It takes a while until it has the file open. The log may go meanwhile, with the last connection that has it.
          this.#reopening.add(thread)
        },
        closing: (thread) => {
          this.#reopening.add(thread)
          this.#expectNewLog()
        },
        closed: (thread) => {
          this.#threads.delete(thread)
          this.#reopening.delete(thread)
          this.commits.closed(thread)
          this.#expectNewLog()
        }
      })
      return Effect.tap(opened, ({ thread }) =>
        Effect.sync(() => {
          this.#reopening.delete(thread)
          this.file.note(before, this.#handles.size === 0 && this.#threads.size === 1)
          if (thread.host.death !== undefined) this.#threads.delete(thread)
          else if (!settings.isReadOnly) this.commits.opened(thread)
        }))
    })
  }

  /** Closes a connection and forgets it, in one step, because the file must not be looked at between the two. */
  #close(handle: Handle): void {
    try {
      handle.close()
    } finally {
      this.#handles.delete(handle)
      this.commits.closed(handle)
      this.#expectNewLog()
    }
  }

  /** Forgets the log if no connection is open here: the last connection of any process deletes it when it closes. */
  #expectNewLog(): void {
    for (const handle of this.#handles.keys()) if (!this.#reopening.has(handle)) return
    for (const thread of this.#threads.keys()) if (!this.#reopening.has(thread)) return
    this.file.forgetLog()
  }

  /** Whether a connection can read the file at its path. If another process has locked the file, the answer is yes. */
  #answers(kept: Connection): boolean {
    if (this.file.problem !== undefined) return false
    try {
      kept.valuesUnsafe("select 1 from sqlite_schema limit 1")
      return true
    } catch (thrown) {
      return mayStartLater(codeOf(thrown))
    }
  }

  /** Resets a connection. An altered one is closed and opened again. */
  #reset<E>(kept: Connection, reset: Effect.Effect<void, E>): Effect.Effect<void, E> {
    return Effect.suspend(() => {
      const handle = handleOf(kept)
      return handle.session.isAltered ? this.#reopen(handle, reset) : reset
    })
  }

  /** Resets a connection that may be closed and opened again for that. If it is the only one, SQLite makes a new log. */
  #reopen<A, E>(key: Handle | Thread, reset: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.suspend(() => {
      this.#reopening.add(key)
      this.#expectNewLog()
      return reset.pipe(
        Effect.tap(Effect.sync(() => this.file.noteLogIfForgotten())),
        Effect.ensuring(Effect.sync(() => this.#reopening.delete(key)))
      )
    })
  }

  /** Closes all connections if the file or its log was moved or replaced. Looks at the file at most every 50 ms. */
  look(): void {
    const problem = this.file.recentProblem(this.pins.now())
    if (problem !== undefined) this.#leave(problem)
  }

  /** Does the same as `look`, and throws if connections were closed. */
  #look(now: number): void {
    const problem = this.file.recentProblem(now)
    if (problem !== undefined) throw new Error(this.#leave(problem))
  }

  /**
   * Closes all connections to a file that was moved or replaced, ends their leases, and returns the reason.
   *
   * All connections are closed at once, because an open one would use the log of the new file as its own.
   * See https://sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use.
   */
  #leave(problem: Problem): string {
    const reason = `${nameOf(this.settings.connection)} ${problem.text}`
    this.pins.revokeAll(reason)
    for (const leased of this.#writers) revoke(leased, reason)
    this.#writers.clear()
    const log = problem.kind === "log" ? "empty" : this.file.isLogLeft ? "end" : undefined
    const threads = this.#endThreads(problem, log, reason)
    if (problem.kind === "emptied") this.#closeAsItIs()
    else {
      for (const handle of this.#of("reads")) handle.leave(undefined)()
      // The log holds committed transactions, which go to the old file, wherever it is now. If the log stayed, it would
      // destroy the new file when that is opened. It can be deleted only when nobody else has the old file open.
      const ends = this.#of("writes").map((handle) => handle.leave(log))
      if (threads.length === 0) { for (const end of ends) end() }
      else this.#opensAfter(Promise.all(threads).then(() => ends.forEach((end) => end())))
    }
    this.#handles.clear()
    this.file.leave(problem)
    this.#left = reason
    this.commits.closedAll()
    this.attention.openUnsafe()
    return reason
  }

  /** What is opened at the path waits for this. */
  #opensAfter(end: Promise<unknown>): void {
    const leaving: Promise<unknown> = end.finally(() => this.#leaving.delete(leaving))
    this.#leaving.add(leaving)
  }

  /** Ends all threads, also one in which SQLite works now. Returns the ends of those that read. */
  #endThreads({ kind }: Problem, log: LeaveRequest["log"], reason: string): ReadonlyArray<Promise<unknown>> {
    const readers: Array<Promise<unknown>> = []
    for (const [{ ended, host, terminate }, its] of [...this.#threads].toSorted(([, a], [, b]) => a.localeCompare(b))) {
      host.died(new Failure("connection", "thread", reason, new Error(reason)))
      // Only a connection that writes can move the log. If SQLite works there now, it does that afterwards.
      const movesLog = its === "writes" && kind !== "emptied"
      const guard = its === "writes" && !movesLog ? guardOf(this.settings.connection.filename) : undefined
      const end = movesLog ? Promise.all(readers).then(() => host.leave(log)).then(() => ended) : terminate()
      this.#opensAfter(end.finally(() => guard?.close()))
      if (its === "reads") readers.push(end)
    }
    this.#threads.clear()
    return readers
  }

  /** Closes all connections without moving the log into the file that is at the path now. */
  #closeAsItIs(): void {
    const { filename, isImmutable } = this.settings.connection
    // A connection to an immutable file does not know the log.
    const guard = isImmutable ? undefined : guardOf(filename)
    for (const kind of ["writes", "reads"] as const) for (const handle of this.#of(kind)) handle.leave(undefined)()
    guard?.close()
  }

  #of(kind: "reads" | "writes"): Array<Handle> {
    return [...this.#handles].filter(([, its]) => its === kind).map(([handle]) => handle)
  }

  /** Measures the log, but not after every write. */
  #measure(now: number): void {
    if (this.settings.walLimit === Infinity) return
    if (++this.#writesSinceMeasured < writesPerMeasure && now - this.#measuredAt < measureEveryMillis) return
    this.#writesSinceMeasured = 0
    this.#measuredAt = now
    if (this.isWalLong) this.attention.openUnsafe()
  }
}

/** Looking at the size of the log takes a third of the time of a small write, so it is not done after every write. */
const writesPerMeasure = 32
const measureEveryMillis = 100
