/** The kind of a statement, by its text. The kind decides where the statement runs. */
import { denied, type Failure, invalidSql, readOnlyRefusal, shortened } from "../failures.ts"
import { Pace } from "./pace.ts"
import * as SqlText from "./scanner.ts"

/** A `recall` asks what its connection wrote before: only the writer knows that. */
export type StatementKind = "read" | "recall" | "write" | "control"

/** The text of a statement, and its kind. */
export interface Text {
  readonly sql: string
  readonly kind: StatementKind
  /** Whether it is one statement that inserts, updates or deletes, and so can run in a transaction with others. */
  readonly changesRows: boolean
  /** Whether it begins as a statement of SQLite does. */
  readonly isStatement: boolean
  /** How long its runs take, where that decides where they run. */
  readonly pace: Pace
}

/** Reads the texts of statements, and remembers the kinds of the last texts. */
export class StatementTexts {
  readonly #bySql = new Map<string, Text>()
  #length = 0

  get size(): number {
    return this.#bySql.size
  }

  /** The length of all texts that are kept. */
  get length(): number {
    return this.#length
  }

  /** The texts that were slow and are kept, in the order in which they were first read. */
  get slow(): ReadonlyArray<string> {
    return [...this.#bySql.values()].filter(({ pace }) => pace.isSlow).map(({ sql }) => sql)
  }

  kindOf(sql: string): StatementKind {
    return this.read(sql).kind
  }

  read(sql: string): Text {
    const known = this.#bySql.get(sql)
    if (known !== undefined) return known
    const found = SqlText.read(sql)
    const { isStatement, isWrite, statements } = found
    const text = {
      sql,
      kind: kindOf(found, sql),
      changesRows: isWrite && statements === 1,
      isStatement,
      pace: new Pace()
    }
    if (!this.isWorthKeeping(sql)) return text
    this.#bySql.set(sql, text)
    this.#length += sql.length
    while (this.#bySql.size > textsToKeep || this.#length > lengthToKeep) this.#forget()
    return text
  }

  /** Whether a text is short enough to be kept. A text with many values in it is long, and different each time. */
  isWorthKeeping(sql: string): boolean {
    return sql.length <= longestToKeep
  }

  #forget(): void {
    const oldest = this.#bySql.keys().next().value!
    this.#bySql.delete(oldest)
    this.#length -= oldest.length
  }
}

const textsToKeep = 1000
/** The length of all kept texts together. */
export const lengthToKeep = 1024 * 1024
const longestToKeep = 10_000

const kindOf = (text: SqlText.SqlText, sql: string): StatementKind => {
  if (text.controlsTransaction) return "control"
  if (!text.isRead) return "write"
  return recalls.test(sql) ? "recall" : "read"
}

/** A false match is harmless: the statement runs on the writer. */
const recalls = /\b(?:last_insert_rowid|changes|total_changes)\s*\(/i

/** Whether a statement only reads. `explain pragma x = y` does not: it sets `x`. */
export const isReadOnly = ({ kind, sql }: Text): boolean =>
  (kind === "read" || kind === "recall") && !explainedPragma.test(sql)

const explainedPragma = /^[^a-z]*explain\b[^]*\bpragma\b/i

/** The failure for a text that does more than read, where one can only read for the reason `why`. */
export const readRefusal = (operation: string, { isStatement, sql }: Text, why: string): Failure =>
  isStatement
    ? readOnlyRefusal(operation, sql, why)
    : invalidSql(operation, `${operation}: the SQL holds no statement of SQLite: ${JSON.stringify(shortened(sql))}`)

/** The error for a statement that begins or ends a transaction, where only `transaction` may do that. */
export const uncontrolled = (sql: string, operation = "execute"): Failure =>
  denied(
    operation,
    sql,
    "transactions are begun and ended by withTransaction or transaction, or by hand on a connection from reserve or write"
  )

/** The error for a statement that begins or ends a transaction in a function given to `writeSync`. */
export const uncontrolledInFunction = (sql: string, operation: string): Failure =>
  denied(
    operation,
    sql,
    "the function given to `writeSync` is a transaction, which is committed when it returns and undone when it throws: " +
      "use `write`, outside of a transaction, to begin and end transactions by hand"
  )
