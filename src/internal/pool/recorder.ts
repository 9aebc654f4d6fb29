/** Records the statements of one connection for its pool. The driver calls it, which may run in a thread without Effect. */
import * as LinkedList from "../structures/linkedList.ts"
import { Run, Statements } from "./statements.ts"

/** The connection whose statements are recorded: an `Entry` of a pool. */
export interface Subject {
  readonly lease: object | undefined
  readonly statements: Statements
}

/** How a statement has ended. */
export interface Ended {
  readonly text: string
  readonly tookMillis: number
  /** Whether it ran in one step, so that nothing else could run in this process. */
  readonly isBlocking: boolean
  /** The lease that has begun it. */
  readonly lease: object | undefined
}

/** Callers whose work the driver has run together by itself: see the event `Grouped`. */
export interface GroupOfCallers {
  readonly size: number
  readonly tookMillis: number
  readonly undoneBecause: string | undefined
}

/** The pool of a connection. */
export interface Listener {
  readonly now: () => number
  /** Called with each statement that has ended. Not set: statements are not measured. */
  readonly ended: ((ended: Ended) => void) | undefined
  readonly grouped?: ((group: GroupOfCallers) => void) | undefined
}

/**
 * Each connection has its own. While statements are not measured, a statement in one step costs a field or two, and no look
 * at the clock.
 */
export class Recorder {
  #subject: Subject
  #listener: Listener
  /** Whether statements are measured. */
  #isMeasured: boolean
  /** The statement that runs in one step now, and when it began; a negative number if it is not measured. */
  #text = ""
  #begunAt = -1

  constructor(subject: Subject, listener: Listener) {
    this.#subject = subject
    this.#listener = listener
    this.#isMeasured = listener.ended !== undefined
  }

  /** A recorder that nobody reads. */
  static unread(): Recorder {
    return new Recorder({ lease: undefined, statements: new Statements() }, nowhere)
  }

  /** Records for the connection of another recorder from now on. */
  follow(other: Recorder): void {
    this.#subject = other.#subject
    this.#listener = other.#listener
    this.#isMeasured = other.#isMeasured
  }

  get isMeasured(): boolean {
    return this.#isMeasured
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Statements that run in one step
  // -------------------------------------------------------------------------------------------------------------------

  /** A statement begins. */
  begin(text: string): void {
    this.named(text)
    if (this.#isMeasured) this.#measure(text)
  }

  /** Gives the statement that ran last another text. */
  named(text: string): void {
    const subject = this.#subject
    if (subject.lease !== undefined) subject.statements.last = text
  }

  #measure(text: string): void {
    this.#subject.statements.lastMillis = undefined
    this.#text = text
    this.#begunAt = this.#listener.now()
  }

  /** The statement that has begun last has ended. */
  end(): void {
    if (this.#begunAt >= 0) this.#measured()
  }

  #measured(): void {
    const { lease, statements } = this.#subject
    const tookMillis = this.#listener.now() - this.#begunAt
    const text = this.#text
    this.#begunAt = -1
    this.#text = ""
    if (lease !== undefined) statements.lastMillis = tookMillis
    this.#listener.ended!({ text, tookMillis, isBlocking: true, lease })
  }

  runSync<A>(text: string, f: () => A): A {
    this.begin(text)
    try {
      return f()
    } finally {
      this.end()
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Statements that take several steps
  // -------------------------------------------------------------------------------------------------------------------

  /** A statement begins that takes several steps. */
  start(text: string): Run {
    const { lease, statements } = this.#subject
    const run = new Run(text, lease, this.#listener.now())
    // Not a `Set`: it makes a new table for each run that leaves it, and the tables of one that is old keep garbage alive.
    statements.running ??= new LinkedList.LinkedList()
    LinkedList.push(statements.running, run)
    return run
  }

  /** Makes a run of the statement that has begun last: its rows will be read in further steps. */
  goOn(text: string): Run {
    const run = this.start(text)
    if (this.#begunAt >= 0) run.spentMillis = this.#listener.now() - this.#begunAt
    this.#begunAt = -1
    this.#text = ""
    return run
  }

  /** The database begins to work for a run. */
  enter(run: Run): void {
    if (this.#isMeasured) run.enteredAt = this.#listener.now()
  }

  /** The database has worked for a run, which goes on. */
  leave(run: Run): void {
    if (run.enteredAt < 0) return
    run.spentMillis += this.#listener.now() - run.enteredAt
    run.enteredAt = -1
  }

  /** A statement has ended that ran for a caller without a lease. */
  ran(text: string, tookMillis: number): void {
    this.#listener.ended?.({ text, tookMillis, isBlocking: false, lease: undefined })
  }

  /** The driver has served callers together. */
  grouped(group: GroupOfCallers): void {
    this.#listener.grouped?.(group)
  }

  /** A run has ended. A second call does nothing. */
  finish(run: Run): void {
    this.leave(run)
    const { lease, statements } = this.#subject
    if (run.list === undefined || run.list !== statements.running) return
    LinkedList.remove(run)
    if (lease !== undefined && run.lease === lease) {
      statements.last = run.text
      statements.lastMillis = this.#isMeasured ? run.spentMillis : undefined
    }
    const { ended } = this.#listener
    ended?.({ text: run.text, tookMillis: run.spentMillis, isBlocking: false, lease: run.lease })
  }
}

const nowhere: Listener = { now: () => 0, ended: undefined }
