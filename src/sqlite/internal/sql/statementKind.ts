/** What kind of statement a text is, on which depends where it may run. */
import type { SqlError } from "effect/sql/SqlError"
import { denied } from "../connection/errors.ts"
import * as SqlText from "./scanner.ts"

/** `recall` reads what only the connection that wrote remembers. */
export type Kind = "read" | "recall" | "write" | "control"

/** The text of a statement, and what it does. */
export interface Text {
  readonly sql: string
  readonly kind: Kind
}

/** What statements do, as far as their text tells; remembered for those seen last. */
export class Kinds {
  readonly #bySql = new Map<string, Text>()
  #length = 0

  get size(): number {
    return this.#bySql.size
  }

  /** Of all texts that are kept. */
  get length(): number {
    return this.#length
  }

  of(sql: string): Kind {
    return this.read(sql).kind
  }

  read(sql: string): Text {
    const known = this.#bySql.get(sql)
    if (known !== undefined) return known
    const text = { sql, kind: kindOf(SqlText.read(sql), sql) }
    if (!isWorthKeeping(sql)) return text
    this.#bySql.set(sql, text)
    this.#length += sql.length
    while (this.#bySql.size > kindsToKeep || this.#length > lengthToKeep) this.#forget()
    return text
  }

  #forget(): void {
    const oldest = this.#bySql.keys().next().value!
    this.#bySql.delete(oldest)
    this.#length -= oldest.length
  }
}

const kindsToKeep = 1000
/** Of all texts together. */
export const lengthToKeep = 1024 * 1024
const longestToKeep = 10_000

/** Values written into a text make it long, and different each time. */
export const isWorthKeeping = (sql: string): boolean => sql.length <= longestToKeep

const kindOf = (text: SqlText.SqlText, sql: string): Kind => {
  if (text.controlsTransaction) return "control"
  if (!text.isRead) return "write"
  return recalls.test(sql) ? "recall" : "read"
}

/** Where it is something else, the statement is none the worse for being run on the writer. */
const recalls = /\b(?:last_insert_rowid|changes|total_changes)\s*\(/i

/** The error for a statement that begins or ends a transaction where that is not its business. */
export const uncontrolled = (sql: string): SqlError =>
  denied(
    "execute",
    sql,
    "transactions are begun and ended by withTransaction or transaction, or by hand on a connection from reserve or write"
  )
