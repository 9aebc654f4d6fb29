/**
 * The changes of statements to their connection, where an application relies on there being one connection. They last until
 * statements change them again, on whichever connection they run.
 *
 * The connection that writes keeps what was done on it. Any that is opened afterwards, beside it or in its place, gets the
 * pragmas and the attached files as it is opened. Temporary tables, and databases in memory, are where they were made: as
 * long as there are any, everything runs there.
 */
import { type Imitated, isSetting, keyOf, type Pragma } from "./demands.ts"

export class Lasting implements Imitated {
  readonly isReadOnly: boolean
  readonly isOneConnection: boolean
  /** By `keyOf`, in the order in which they were set. */
  readonly pragmas = new Map<string, Pragma>()
  /** Files by the names that they are attached under, once a statement has changed something about them. */
  attached: ReadonlyMap<string, string> | undefined
  /** Whether the connection that writes has tables that no other can have. */
  hasOwn = false
  /** Whether there may be connections, beside the one that writes, that were opened before the last change. */
  isStale = false

  constructor(isReadOnly: boolean, isOneConnection: boolean) {
    this.isReadOnly = isReadOnly
    this.isOneConnection = isOneConnection
  }

  set(pragma: Pragma): void {
    if (!isSetting(pragma) || forOneTransaction.has(pragma.name)) return
    const key = keyOf(pragma)
    this.pragmas.delete(key)
    this.pragmas.set(key, pragma)
    if (!ofWriting.has(pragma.name)) this.#changed()
  }

  /** Remembers the attached databases with their files, and whether there are temporary tables. */
  attach(databases: ReadonlyMap<string, string>, hasTemporary: boolean): void {
    const files = new Map([...databases].filter(([, file]) => file !== ""))
    const before = this.attached
    const hasChanged = files.size !== (before?.size ?? 0) ||
      [...files].some(([name, file]) => before?.get(name) !== file)
    this.attached = files
    this.hasOwn = hasTemporary || files.size < databases.size
    if (hasChanged) this.#changed()
  }

  #changed(): void {
    if (!this.isOneConnection) this.isStale = true
  }
}

/** SQLite takes it back by itself. */
const forOneTransaction: ReadonlySet<string> = new Set(["defer_foreign_keys"])

/** Pragmas that make no difference to a connection that only reads. */
const ofWriting: ReadonlySet<string> = new Set([
  "auto_vacuum",
  "foreign_keys",
  "ignore_check_constraints",
  "journal_mode",
  "journal_size_limit",
  "page_size",
  "recursive_triggers",
  "secure_delete",
  "synchronous",
  "wal_autocheckpoint"
])
