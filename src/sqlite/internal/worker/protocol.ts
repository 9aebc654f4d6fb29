/**
 * The messages between a connection and its thread.
 *
 * Both sides send one message for each turn: an array of requests, or of answers. Requests run one after the other, in the
 * order in which they were made; streams run between them. Each request has a number, which is free again after its last
 * answer. The number is also the index of its word: see `word.ts`.
 */
import type { GroupOfCallers } from "../../../internal/pool/recorder.ts"
import type { Violations } from "../connection/foreignKeys.ts"
import type { Beginning } from "../connection/transactions.ts"
import type { ChangesData, Reads } from "../sql/tables.ts"
import type { Ran } from "./batch.ts"
import type { FailureData } from "./failureData.ts"

/** What a caller wants of a statement: its rows as arrays, its rows or its result, or its result only. */
export type Way = "rows" | "rowsOrResult" | "result"

/** A number that stands for the text of a statement. Its text is sent with the first request that has the number. */
export type TextNumber = number

export interface StatementRequest {
  readonly kind: "statement"
  readonly id: number
  readonly operation: string
  readonly way: Way
  /** Not set for a text that is not kept. */
  readonly number: TextNumber | undefined
  /** Set if the thread does not know the number yet. */
  readonly sql: string | undefined
  readonly params: unknown
  readonly bigInts: boolean
  readonly isAlone: boolean
  /** Whether other requests run before all rows are read. Its rows are of one state of the database. */
  readonly isStream: boolean
  /** Whether it may share a commit with those next to it. */
  readonly isShared: boolean
}

/** Operations of the connection itself, with their parameters. They are those of `Handle`. */
export interface Controls {
  /** Opens the file. The first request. `isPrepared`: `onOpen` runs next, and then `endOpening`. */
  readonly open: (isFirst: boolean, isPrepared: boolean) => void
  readonly loadExtension: (path: string) => void
  /** `onOpen` has ended. */
  readonly endOpening: () => void
  /** Runs a script after its first `done` characters. */
  readonly exec: (operation: string, script: string, done: number) => Executed
  readonly begin: (beginning: Beginning) => void
  /** Commits, unless the transaction had foreign keys off and has caused violations, which it returns. */
  readonly commit: () => Violations | undefined
  readonly rollback: () => void
  /** Begins the savepoint at a depth, or ends it so that its work stays. */
  readonly savepoint: (verb: "savepoint" | "release", depth: number) => void
  /** Undoes and ends the savepoint at a depth. If that fails, the whole transaction is undone. */
  readonly undo: (depth: number) => void
  /** Runs rows of a batch: see `batch.ts`. `cacheSize` is that of the connection until the transaction ends, in KiB. */
  readonly batch: (sql: string | undefined, rows: ReadonlyArray<unknown>, cacheSize: number | undefined) => Ran
  /** From now on, notes what the statements of this transaction read. */
  readonly collect: () => void
  /** What they have read. */
  readonly reads: () => Reads
  /** What a statement reads, which is not run for that. */
  readonly readsOf: (sql: string) => Reads
  readonly isTransaction: () => boolean
  /** Makes the connection as it was before the lease. Returns whether `onOpen` has to run again, if it is there. */
  readonly reset: (isPrepared: boolean) => boolean
  readonly close: () => void
}

/** How far a script has run, and why it has stopped. */
export interface Executed {
  readonly done: number
  readonly failure: FailureData | undefined
}

export type ControlName = keyof Controls

export interface ControlRequest<Name extends ControlName = ControlName> {
  readonly kind: "control"
  readonly id: number
  readonly name: Name
  readonly params: Parameters<Controls[Name]>
}

/** Allows the thread to send more chunks of rows. It is read at once, not in the order of requests. */
export interface CreditRequest {
  readonly kind: "credit"
  readonly id: number
  readonly chunks: number
}

/** Ends a request whose word was set to cancelled: its statement is closed, also if it waits for credit. */
export interface CancelRequest {
  readonly kind: "cancel"
  readonly id: number
}

/** Ends a stream whose reader wants no more rows: its statement is closed, and what it has written counts. */
export interface FinishRequest {
  readonly kind: "finish"
  readonly id: number
}

/** The numbers of texts that are not used any more. */
export interface ForgetRequest {
  readonly kind: "forget"
  readonly numbers: ReadonlyArray<TextNumber>
}

/** From now on, the thread reports commits, or reports none any more. */
export interface WatchRequest {
  readonly kind: "watch"
  readonly isOn: boolean
}

/** Asks whether other connections have committed. The thread looks at that after each message while it reports commits. */
export interface AskRequest {
  readonly kind: "ask"
}

/**
 * Closes the file and ends the thread, because another file is at the path now. What its log holds goes to the old file, if
 * `log` is set: `empty` moves it there, `end` also deletes the log, which would destroy the new file.
 */
export interface LeaveRequest {
  readonly kind: "leave"
  readonly log: "empty" | "end" | undefined
}

export type Request =
  | StatementRequest
  | ControlRequest
  | CreditRequest
  | CancelRequest
  | FinishRequest
  | ForgetRequest
  | WatchRequest
  | AskRequest
  | LeaveRequest

/** The last answer of a request. */
interface LastAnswer {
  /** How long the thread has worked for the request. Not set if that was short and nobody measures it. */
  readonly tookMillis?: number
}

/** Some of the rows of a statement. */
export interface RowsAnswer extends LastAnswer {
  readonly kind: "rows"
  readonly id: number
  readonly rows: ReadonlyArray<ReadonlyArray<unknown>>
  /** The names of the columns, if they are not those of the last answer for this text. */
  readonly columns: ReadonlyArray<string> | undefined
  /** Whether these are the last rows, so that the request has ended. */
  readonly isLast: boolean
}

/** The request has ended. */
export interface ValueAnswer extends LastAnswer {
  readonly kind: "value"
  readonly id: number
  readonly value: unknown
}

export interface FailedAnswer extends LastAnswer {
  readonly kind: "failed"
  readonly id: number
  readonly failure: FailureData
}

/** The request was cancelled in time: nothing of it is stored. */
export interface CancelledAnswer extends LastAnswer {
  readonly kind: "cancelled"
  readonly id: number
}

export type Answer = RowsAnswer | ValueAnswer | FailedAnswer | CancelledAnswer

/** The state of the connection after the answers of a message. */
export interface State {
  readonly isUsable: boolean
  readonly needsReset: boolean
  readonly isTransaction: boolean
  readonly isPinning: boolean
}

/** The commits since the last report. They are told before the answers. */
export interface Reported {
  /** The changes of each commit of this connection. */
  readonly commits: ReadonlyArray<ChangesData>
  /** Whether other connections have committed. */
  readonly haveOthersCommitted: boolean
}

export interface Answers {
  readonly answers: ReadonlyArray<Answer>
  readonly state: State
  /** The groups of statements that have shared a commit, or were undone instead. */
  readonly groups?: ReadonlyArray<GroupOfCallers>
  /** Not set while the thread reports no commits, or does not know yet that it has to. */
  readonly reported?: Reported | undefined
}

/** A shorter time is not told, unless statements are measured. */
export const slowMillis = 1

/** The number of requests that may be out at the same time. */
export const mostRequests = 256

/** The rows of one message, at most. Larger chunks hold up the event loop of the receiver. */
export const rowsPerChunk = 500

/** The number of statements that share one commit, at most, and the time after which no other joins them. */
export const mostShared = 500
export const longestSharedMillis = 4

/** The size of the values in one message, about. One row may be larger. */
export const bytesPerChunk = 256 * 1024

/** The chunks that a thread may send before the receiver has taken one. */
export const chunksAhead = 3

/** About how many bytes the values of a row take in a message. */
export const bytesOf = (row: ReadonlyArray<unknown>): number => {
  let bytes = 16
  for (const value of row) {
    if (typeof value === "string") bytes += 8 + value.length
    else if (ArrayBuffer.isView(value)) bytes += 32 + value.byteLength
    else bytes += 8
  }
  return bytes
}
