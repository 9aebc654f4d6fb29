/**
 * The changes of statements to their connection, for an application that expects one connection. They last until
 * statements change them again.
 *
 * The writer keeps its changes. A connection that is opened later gets the pragmas and the attached files. Temporary
 * tables and attached databases in memory exist only on the writer. While there are any, all statements run there.
 */
import { type Imitated, isSetting, keyOf, type Pragma } from "./demands.ts"

export class Lasting implements Imitated {
  readonly isReadOnly: boolean
  readonly isOneConnection: boolean
  /** The pragmas by `keyOf`, in the order in which they were set. */
  readonly pragmas = new Map<string, Pragma>()
  /** The attached files by their names. Not set before a statement has attached or detached one. */
  attached: ReadonlyMap<string, string> | undefined
  /** Whether the writer has tables that no other connection can have. */
  hasOwn = false
  /** Whether readers may have been opened before the last change. */
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

  /** A statement detaches a database, and the settings of that end. The name is in any case. */
  detach(name: string): void {
    this.#forget((schema) => schema.toLowerCase() === name.toLowerCase())
  }

  /** Remembers the attached databases with their files, and whether there are temporary tables. */
  attach(databases: ReadonlyMap<string, string>, hasTemporary: boolean): void {
    const files = new Map([...databases].filter(([, file]) => file !== ""))
    const before = this.attached
    const hasChanged = files.size !== (before?.size ?? 0) ||
      [...files].some(([name, file]) => before?.get(name) !== file)
    this.attached = files
    this.hasOwn = hasTemporary || files.size < databases.size
    this.#forget((schema) => !isOfEvery(schema) && !databases.has(schema))
    if (hasChanged) this.#changed()
  }

  /** Forgets the pragmas of some schemas. */
  #forget(isGone: (schema: string) => boolean): void {
    for (const [key, { schema }] of this.pragmas) if (schema !== null && isGone(schema)) this.pragmas.delete(key)
  }

  #changed(): void {
    if (!this.isOneConnection) this.isStale = true
  }
}

/** What lasts, as data: a thread gets a copy without methods. */
export type LastingData = Pick<Lasting, "attached" | "pragmas">

/** The pragmas that can be set on a connection with these attached databases. */
export const pragmasFor = (
  { pragmas }: LastingData,
  databases: ReadonlyMap<string, string>
): ReadonlyArray<Pragma> =>
  [...pragmas.values()].filter(({ schema }) => schema === null || isOfEvery(schema) || databases.has(schema))

/** Whether every connection has this schema. */
const isOfEvery = (schema: string): boolean => schema === "main" || schema === "temp"

/** Pragmas that SQLite resets at the end of a transaction. */
const forOneTransaction: ReadonlySet<string> = new Set(["defer_foreign_keys"])

/** Pragmas that have no effect on a connection that only reads. */
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
