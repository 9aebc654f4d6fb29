/** How transactions begin and end on a connection: https://sqlite.org/lang_transaction.html. */
import { invalidInput, readOnlyRefusal } from "../failures.ts"
import { type Census, census } from "./foreignKeys.ts"
import type { Handle } from "./handle.ts"
import * as Refusal from "./refusal.ts"

/** How a transaction begins. */
export interface Beginning {
  readonly isolation: string
  /** Whether it only reads, so that its writes are refused. */
  readonly isReadOnly: boolean
  /** Why its writes are refused. */
  readonly why: string
  /** Whether the whole database only reads, so that the error for a write should not name the transaction as the cause. */
  readonly isOfDatabase: boolean
  /** The application's own statement that begins it. */
  readonly statement: string | undefined
  readonly foreignKeys: "off" | "deferred" | undefined
}

/** Begins a transaction. Returns the violations of foreign keys that exist, if foreign keys are off. */
export const begin = (handle: Handle, beginning: Beginning): Census | undefined => {
  const { foreignKeys } = beginning
  if (foreignKeys === undefined) {
    beginAs(handle, beginning)
    return undefined
  }
  try {
    if (foreignKeys === "off") handle.suspendForeignKeys("begin")
    beginAs(handle, beginning)
    if (foreignKeys === "off") return census(handle)
    handle.deferForeignKeys("begin")
    return undefined
  } catch (thrown) {
    handle.rollback("begin")
    handle.session.resumeForeignKeys()
    throw thrown
  }
}

const beginAs = (handle: Handle, { isOfDatabase, isReadOnly, isolation, statement, why }: Beginning): void => {
  if (statement !== undefined) {
    handle.run("begin", statement, undefined, false)
    if (handle.isTransaction("begin")) return
    throw invalidInput("begin", `begin: ${JSON.stringify(statement)} begins no transaction`)
  }
  if (isReadOnly) return beginReadOnly(handle, isOfDatabase && handle.settings.isReadOnly ? undefined : why)
  const sql = begins.get(isolation)!
  // SQLite would begin a transaction that cannot write.
  if (handle.settings.isReadOnly) {
    throw readOnlyRefusal("begin", sql, handle.settings.refusal ?? Refusal.ofConnection)
  }
  handle.run("begin", sql, undefined, false)
}

/** The statements that begin transactions. A text that is made anew has to be hashed to find its prepared statement. */
const begins: ReadonlyMap<string, string> = new Map(
  ["immediate", "deferred", "exclusive"].map((isolation) => [isolation, `begin ${isolation}`])
)

/** Begins a transaction that only reads. SQLite fixes what it sees at the first read, so this reads at once. */
const beginReadOnly = (handle: Handle, why: string | undefined): void => {
  handle.run("begin", "begin", undefined, false)
  try {
    handle.rows("begin", "pragma schema_version", undefined, true, false)
    // The read says nothing to those who look at the holders.
    handle.recorder.named("begin")
    handle.restrict("begin", why)
  } catch (thrown) {
    handle.rollback("begin")
    throw thrown
  }
}

/** Ends the transaction, after the streams that still read in it: they would pin its state. */
export const end = (handle: Handle, statement: "commit" | "rollback"): void => {
  handle.closeCursors()
  handle.restrict(statement, undefined)
  handle.run(statement, statement, undefined, false)
  handle.session.resumeForeignKeys()
  if (statement === "rollback") handle.session.endBulk()
}

/** The name of the savepoint of the transaction at a depth. */
export const savepointAt = (depth: number): string => `effect_pool_${depth}`
