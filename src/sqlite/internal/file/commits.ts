/**
 * The commits of one database: of its own connections, and of others. It tells those who observe, and asks for the commits
 * of others only while somebody does.
 *
 * Its own connections report their commits. A connection can ask SQLite whether another connection has committed
 * (https://sqlite.org/pragma.html#pragma_data_version), but not what. It is asked at the end of each lease of the writer, and
 * after each `observeInterval`.
 */
import type { Context } from "effect"
import * as Alarm from "../../../internal/structures/timer.ts"
import type { Handle } from "../connection/handle.ts"
import { haveOthersCommitted } from "../connection/observed.ts"
import type { Execution } from "../contract/execution.ts"
import { Changes } from "../sql/tables.ts"
import type { CommitListener } from "../worker/pending.ts"
import type { Thread } from "../worker/thread.ts"

/** Who has committed: a connection of this pool, or any other connection. */
export type Author = "pool" | "other"

/** Somebody who observes. Its functions are called in the step of a commit, so they only take notes. */
export interface Listener {
  /** Where it reads, if it does: it ends with the readers there. */
  readonly reads: Execution | undefined
  readonly committed: (changes: Changes, by: Author) => void
  /** The database is shut down. */
  readonly ended: () => void
}

/** A connection that reports its commits, and that can be asked whether other connections have committed. */
export interface Committer {
  readonly watch: (listener: CommitListener | undefined) => void
  /** Whether others have committed since the last question. A connection in a thread tells its listener later instead. */
  readonly ask: () => boolean
}

export class Commits {
  readonly #listeners = new Set<Listener>()
  /** The connections, by what they are known by: a handle, or a thread. */
  readonly #committers = new Map<object, Committer>()
  readonly #intervalMillis: number
  readonly #alarm: Alarm.Alarm
  readonly #look: () => void
  #isOver = false
  /** Where the readers are shut down. */
  readonly #endedReaders = new Set<Execution>()

  /** `look` looks whether the file is still the same. `Infinity` for the interval: others are not asked for by time. */
  constructor(intervalMillis: number, context: Context.Context<never>, look: () => void) {
    this.#intervalMillis = intervalMillis
    this.#look = look
    this.#alarm = Alarm.make(context, (now) => this.#ring(now))
  }

  /** Whether somebody observes. */
  get isObserved(): boolean {
    return this.#listeners.size > 0
  }

  /** Whether the database is shut down. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** A connection was opened that may commit, or that is asked for the commits of others. */
  opened(key: Handle | Thread): void {
    const committer = "host" in key ? ofThread(key) : ofHandle(key)
    this.#committers.set(key, committer)
    if (!this.isObserved) return
    this.#watch(committer)
    // Nobody was asked while no connection was open.
    this.#tell(Changes.unknown(), "other")
  }

  closed(key: Handle | Thread): void {
    this.#committers.delete(key)
  }

  /** All connections were closed, because the file was moved or replaced. */
  closedAll(): void {
    this.#committers.clear()
    this.#tell(Changes.unknown(), "other")
  }

  /** Asks for the commits of others, if somebody observes. */
  ask(): void {
    if (!this.isObserved) return
    let isChanged = false
    for (const { ask } of this.#committers.values()) isChanged = ask() || isChanged
    if (isChanged) this.#tell(Changes.unknown(), "other")
  }

  /** Tells a listener of all commits from now on. */
  add(listener: Listener): void {
    const { reads } = listener
    if (this.#isOver || (reads !== undefined && this.#endedReaders.has(reads))) return listener.ended()
    this.#listeners.add(listener)
    if (this.#listeners.size > 1) return
    for (const committer of this.#committers.values()) this.#watch(committer)
    this.#schedule(this.#alarm.now())
  }

  remove(listener: Listener): void {
    if (!this.#listeners.delete(listener) || this.isObserved) return
    this.#alarm.stop()
    for (const { watch } of this.#committers.values()) watch(undefined)
  }

  /** The readers are shut down: tells the listeners that read there. Commits go on. */
  endReading(where: Execution): void {
    this.#endedReaders.add(where)
    this.#end([...this.#listeners].filter(({ reads }) => reads === where))
  }

  /** The database is shut down, or its writer, without which no commit is known: tells all listeners. */
  end(): void {
    this.#isOver = true
    this.#end([...this.#listeners])
  }

  #end(listeners: ReadonlyArray<Listener>): void {
    for (const listener of listeners) this.remove(listener)
    for (const listener of listeners) listener.ended()
  }

  #watch({ ask, watch }: Committer): void {
    watch(this.#listener)
    // Later answers are about the time since this one.
    ask()
  }

  readonly #listener: CommitListener = {
    committed: (changes) => this.#tell(changes, "pool"),
    haveOthersCommitted: () => this.#tell(Changes.unknown(), "other")
  }

  #tell(changes: Changes, by: Author): void {
    for (const listener of this.#listeners) listener.committed(changes, by)
  }

  #ring(now: number): void {
    if (!this.isObserved) return
    this.#look()
    this.ask()
    this.#schedule(now)
  }

  #schedule(now: number): void {
    if (this.#intervalMillis !== Infinity) this.#alarm.set(now + this.#intervalMillis, true)
  }
}

const ofHandle = (handle: Handle): Committer => ({
  watch: (listener) => handle.observed.watch(listener?.committed),
  ask: () => haveOthersCommitted(handle.observed)
})

const ofThread = ({ host }: Thread): Committer => ({
  watch: (listener) => host.watch(listener),
  ask: () => {
    host.ask()
    return false
  }
})
