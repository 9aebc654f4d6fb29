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
import { Changes } from "../sql/tables.ts"

/** Who has committed: a connection of this pool, or any other connection. */
export type Author = "pool" | "other"

/** Somebody who observes. Its functions are called in the step of a commit, so they only take notes. */
export interface Listener {
  /** Whether it reads, and so ends with the readers. */
  readonly isReading: boolean
  readonly committed: (changes: Changes, by: Author) => void
  /** The database is shut down. */
  readonly ended: () => void
}

export class Commits {
  readonly #listeners = new Set<Listener>()
  readonly #handles = new Set<Handle>()
  readonly #intervalMillis: number
  readonly #alarm: Alarm.Alarm
  readonly #look: () => void
  #isOver = false
  /** Whether the readers are shut down. */
  #isReadingOver = false

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
  opened(handle: Handle): void {
    this.#handles.add(handle)
    if (!this.isObserved) return
    this.#watch(handle)
    // Nobody was asked while no connection was open.
    this.#tell(Changes.unknown(), "other")
  }

  closed(handle: Handle): void {
    this.#handles.delete(handle)
  }

  /** All connections were closed, because the file was moved or replaced. */
  closedAll(): void {
    this.#handles.clear()
    this.#tell(Changes.unknown(), "other")
  }

  /** Asks for the commits of others, if somebody observes. */
  ask(): void {
    if (!this.isObserved) return
    let isChanged = false
    for (const handle of this.#handles) isChanged = haveOthersCommitted(handle) || isChanged
    if (isChanged) this.#tell(Changes.unknown(), "other")
  }

  /** Tells a listener of all commits from now on. */
  add(listener: Listener): void {
    if (this.#isOver || (this.#isReadingOver && listener.isReading)) return listener.ended()
    this.#listeners.add(listener)
    if (this.#listeners.size > 1) return
    for (const handle of this.#handles) this.#watch(handle)
    this.#schedule(this.#alarm.now())
  }

  remove(listener: Listener): void {
    if (!this.#listeners.delete(listener) || this.isObserved) return
    this.#alarm.stop()
    for (const handle of this.#handles) handle.observed.watch(undefined)
  }

  /** The readers are shut down: tells the listeners that read. Commits go on. */
  endReading(): void {
    this.#isReadingOver = true
    this.#end([...this.#listeners].filter(({ isReading }) => isReading))
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

  #watch(handle: Handle): void {
    handle.observed.watch((changes) => this.#tell(changes, "pool"))
    // Later answers are about the time since this one.
    haveOthersCommitted(handle)
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

/** What cannot be asked now is asked the next time. */
const haveOthersCommitted = (handle: Handle): boolean => {
  try {
    return handle.observed.haveOthersCommitted() === true
  } catch {
    // Another process has a lock, or the connection is closed. Statements of callers meet that too, and report it.
    return false
  }
}
