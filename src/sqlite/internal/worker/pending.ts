/** The requests of a connection in a thread, on the side of the caller. */
import type { Run } from "../../../internal/pool/statements.ts"
import * as LinkedList from "../../../internal/structures/linkedList.ts"
import { Changes } from "../sql/tables.ts"
import { type Answer, mostRequests, type Reported, type Request, type Way } from "./protocol.ts"
import type { Known } from "./texts.ts"

/**
 * Gets the answers of one request. Exactly one of `ended`, `failed` and `cancelled` is called, once; only after `failed` of a
 * request that was ended on this side, `cancelled` may follow.
 */
export interface Receiver {
  readonly rows: (rows: ReadonlyArray<ReadonlyArray<unknown>>, columns: ReadonlyArray<string>) => void
  /**
   * The request has ended. The value of a control or of a statement without rows. `tookMillis` is set if it took long, or if
   * statements are measured.
   */
  readonly ended: (value: unknown, tookMillis?: number) => void
  /**
   * `isUnknown`: the thread has ended while it committed, so nobody knows whether something was stored. `isDead`: the thread
   * has ended.
   */
  readonly failed: (thrown: unknown, isUnknown: boolean, isDead: boolean) => void
  /** It was cancelled in time: nothing of it is stored. */
  readonly cancelled: () => void
}

export interface Statement {
  readonly operation: string
  readonly way: Way
  readonly sql: string
  readonly params: unknown
  readonly bigInts: boolean
  readonly isAlone: boolean
  readonly isStream: boolean
  /** Whether it is sent for a caller that has no lease yet, so that the end of a lease does not cancel it. Default false. */
  readonly isAhead?: boolean
  /** Whether something may be stored when it ends: not in a transaction that this library ends. Default false. */
  readonly mayStore?: boolean
  /** Whether it may share a commit with the statements next to it. Default false. */
  readonly isShared?: boolean
}

/** Gets the commits that the thread reports, in the step in which they become known, before their callers are answered. */
export interface CommitListener {
  readonly committed: (changes: Changes) => void
  readonly haveOthersCommitted: () => void
}

/**
 * Tells a listener what the thread has reported. A thread that did not know yet that it has to report has noted nothing:
 * `mayHaveStored` says whether it may have committed.
 */
export const tell = (listener: CommitListener, reported: Reported | undefined, mayHaveStored: () => boolean): void => {
  if (reported === undefined) {
    if (mayHaveStored()) listener.committed(Changes.unknown())
    return
  }
  for (const changes of reported.commits) listener.committed(Changes.from(changes))
  if (reported.haveOthersCommitted) listener.haveOthersCommitted()
}

/** Whether a request that has ended with these answers may have committed. */
export const mayHaveStored = (answers: ReadonlyArray<Answer>, pending: Outstanding): boolean =>
  answers.some((answer) =>
    answer.kind !== "cancelled" && (answer.kind !== "rows" || answer.isLast) &&
    pending.get(answer.id)?.mayStore === true
  )

/** A request that was made. */
export class Pending extends LinkedList.Linked<Pending> {
  readonly receiver: Receiver
  readonly operation: string
  /** The text, or the name of the operation. */
  readonly description: string
  readonly make: (id: number) => Request
  readonly mayStore: boolean
  known: Known | undefined = undefined
  /** Not set while it waits for a number. */
  id: number | undefined = undefined
  columns: ReadonlyArray<string> = []
  isCancelled = false
  /** Whether its caller has no lease yet. */
  isAhead: boolean
  /** Whether its caller has sent it elsewhere. */
  isMoved = false
  /** Its run, if it is recorded. */
  run: Run | undefined = undefined
  /** Whether the time has a limit for which it may run. */
  readonly isTimed: boolean
  /** Since when nothing was before it. Not set if that is not watched. */
  firstAt: number | undefined = undefined

  constructor(
    given: Pick<Pending, "receiver" | "operation" | "description" | "make" | "mayStore" | "isAhead" | "isTimed">
  ) {
    super()
    this.receiver = given.receiver
    this.operation = given.operation
    this.description = given.description
    this.make = given.make
    this.mayStore = given.mayStore
    this.isAhead = given.isAhead
    this.isTimed = given.isTimed
  }
}

/**
 * The requests that are out: the oldest first, and by their numbers. It is no `Map`, which makes a new table whenever it has
 * become small: see `Recorder.start`.
 */
export class Outstanding {
  readonly #line = new LinkedList.LinkedList<Pending>()
  readonly #byNumber = Array.from({ length: mostRequests }, (): Pending | undefined => undefined)

  get size(): number {
    return this.#line.length
  }

  get oldest(): Pending | undefined {
    return this.#line.head
  }

  /** The oldest one that fits. */
  find(fits: (pending: Pending) => boolean): Pending | undefined {
    for (let pending = this.#line.head; pending !== undefined; pending = pending.next) {
      if (fits(pending)) return pending
    }
    return undefined
  }

  get(id: number): Pending | undefined {
    return this.#byNumber[id]
  }

  add(id: number, pending: Pending): void {
    this.#byNumber[id] = pending
    LinkedList.push(this.#line, pending)
  }

  remove(id: number): void {
    const pending = this.#byNumber[id]
    if (pending === undefined) return
    this.#byNumber[id] = undefined
    LinkedList.remove(pending)
  }

  [Symbol.iterator](): Iterator<Pending> {
    return LinkedList.members(this.#line)
  }
}

/** The request for a statement. The text is part of it if the thread does not know its number. */
export const requestOf = (
  { bigInts, isAlone, isShared = false, isStream, operation, sql, way }: Statement,
  id: number,
  params: unknown,
  found: { readonly known: Known; readonly isNew: boolean } | undefined
): Request => ({
  kind: "statement",
  id,
  operation,
  way,
  number: found?.known.number,
  sql: found === undefined || found.isNew ? sql : undefined,
  params,
  bigInts,
  isAlone,
  isStream,
  isShared
})

/** Limits how long statements run. */
export interface Timeout {
  readonly millis: number
  readonly now: () => number
  /** Lets `Host.checkTimeout` be called at that time, or earlier. */
  readonly set: (at: number) => void
}

export interface Port {
  readonly send: (requests: ReadonlyArray<Request>) => void
  /** Called when requests are out, and when none is out any more. Only meanwhile the thread keeps the process alive. */
  readonly busy: (isBusy: boolean) => void
}
