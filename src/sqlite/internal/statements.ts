/** The prepared statements of one connection: those used last, up to a bound. */
import type { DatabaseSync, StatementSync } from "node:sqlite"
import * as LinkedList from "../../internal/linkedList.ts"
import { refusedSql } from "./sqlError.ts"
import * as SqlText from "./sqlText.ts"

/**
 * A statement that SQLite has compiled. After a change of the schema SQLite compiles it again by itself.
 *
 * What `node:sqlite` is told to make of rows stays with the statement: it is remembered here, and said again only if the
 * next caller wants something else.
 */
export class Prepared extends LinkedList.Linked<Prepared> {
  readonly sql: string
  readonly text: SqlText.SqlText
  readonly statement: StatementSync
  #givesArrays = false
  #givesBigInts = false

  constructor(sql: string, text: SqlText.SqlText, statement: StatementSync) {
    super()
    this.sql = sql
    this.text = text
    this.statement = statement
    // Names come with their prefixes, and the same name may have several.
    if (text.isNamed) statement.setAllowBareNamedParameters(false)
  }

  giving(arrays: boolean, bigInts: boolean): StatementSync {
    if (this.#givesArrays !== arrays) {
      this.statement.setReturnArrays(arrays)
      this.#givesArrays = arrays
    }
    if (this.#givesBigInts !== bigInts) {
      this.statement.setReadBigInts(bigInts)
      this.#givesBigInts = bigInts
    }
    return this.statement
  }
}

export class Statements {
  readonly #database: DatabaseSync
  readonly #capacity: number
  readonly #bySql = new Map<string, Prepared>()
  /** Used last at the tail. */
  readonly #byUse = new LinkedList.LinkedList<Prepared>()

  constructor(database: DatabaseSync, capacity: number) {
    this.#database = database
    this.#capacity = capacity
  }

  get size(): number {
    return this.#bySql.size
  }

  /** The statement for a text. Throws a `SqlError` if that is not exactly one, and what Node throws if it is no good. */
  get(operation: string, sql: string): Prepared {
    const last = this.#byUse.tail
    if (last !== undefined && last.sql === sql) return last
    const known = this.#bySql.get(sql)
    if (known === undefined) return this.#prepare(operation, sql)
    LinkedList.move(this.#byUse, known)
    return known
  }

  /** A statement for the caller alone, which may take its time with it: a kept one that is run again would start over. */
  fresh(operation: string, sql: string): Prepared {
    const text = readSql(operation, sql)
    if (text.statements > 1) {
      throw refusedSql(operation, `${operation}: the SQL holds ${text.statements} statements, allowed is one: see exec`)
    }
    return new Prepared(sql, text, this.#database.prepare(sql))
  }

  #prepare(operation: string, sql: string): Prepared {
    const prepared = this.fresh(operation, sql)
    if (this.#capacity > 0) {
      this.#bySql.set(sql, prepared)
      LinkedList.push(this.#byUse, prepared)
      // Node frees the statement when nothing refers to it any more.
      if (this.#bySql.size > this.#capacity) this.#bySql.delete(LinkedList.shift(this.#byUse)!.sql)
    }
    return prepared
  }
}

/** What a text of SQL holds. Throws a `SqlError` if that is nothing, or if SQLite would see something else. */
export const readSql = (operation: string, sql: unknown): SqlText.SqlText => {
  if (typeof sql !== "string") throw refusedSql(operation, `${operation}: the SQL is not text but ${typeof sql}`)
  if (sql.includes("\0")) throw refusedSql(operation, `${operation}: the SQL holds a NUL, where SQLite would stop`)
  if (!sql.isWellFormed()) throw refusedSql(operation, `${operation}: the SQL holds half a surrogate pair`)
  const text = SqlText.read(sql)
  if (text.statements === 0) throw refusedSql(operation, `${operation}: the SQL holds no statement`)
  return text
}
