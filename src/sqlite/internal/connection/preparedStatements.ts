/** The prepared statements of one connection: those used last, up to a bound. */
import type { StatementSync } from "node:sqlite"
import * as LinkedList from "../../../internal/structures/linkedList.ts"
import { invalidSql } from "../errors.ts"
import type { Authorizer } from "../sql/authorizer.ts"
import type { Demand, Recall } from "../sql/demands.ts"
import * as SqlText from "../sql/scanner.ts"

/**
 * A statement that SQLite has compiled. After a change of the schema SQLite compiles it again by itself.
 *
 * How `node:sqlite` makes rows is a property of the statement: it is remembered here, and set again only if the
 * next caller wants something else.
 */
export class Prepared extends LinkedList.Linked<Prepared> {
  readonly sql: string
  readonly text: SqlText.SqlText
  readonly statement: StatementSync
  /** Its demands on the connection. Most statements have none. */
  readonly demands: ReadonlyArray<Demand> | undefined
  /** About what it holds in memory, once it is kept: see `weightOf`. */
  bytes = 0
  #givesArrays = false
  #givesBigInts = false

  constructor(
    sql: string,
    text: SqlText.SqlText,
    statement: StatementSync,
    demands: ReadonlyArray<Demand> | undefined
  ) {
    super()
    this.sql = sql
    this.text = text
    this.statement = statement
    this.demands = demands
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

/** The connection that the statements are of. */
export interface Owner {
  /** Throws if a statement may not make that demand. */
  readonly admit: (demand: Demand, operation: string, sql: string, isAlone: boolean) => void
  /** Whether there is a trigger of that name. */
  readonly isTrigger: (name: string) => boolean
}

/**
 * How much memory the statements that one connection keeps may hold together, in bytes by `weightOf`. Without this, a few
 * hundred statements with values written into them, or with many columns, would hold hundreds of megabytes.
 */
export const statementBytesToKeep = 16 * 1024 * 1024

/** The bytes that a statement holds, for each thing that it consists of: how much memory grew with 200 statements. */
const weights = {
  /** Any statement, in SQLite and in Node. */
  statement: 4096,
  /** The copies of the text. */
  textByte: 8,
  /** The item of a list: its instructions and its register. */
  comma: 128,
  /** The names of a column of the result, which SQLite keeps in full, and its register. */
  column: 512,
  placeholder: 64
}

/**
 * About what a statement holds in memory, in bytes. Neither SQLite nor Node tells, so this estimates it from what is known.
 * For lists of 1500 items or columns it was 0.7 to 2.3 times what was measured.
 */
export const weightOf = ({ sql, statement, text }: Prepared): number =>
  weights.statement + weights.textByte * Buffer.byteLength(sql) + weights.comma * commasIn(sql) +
  weights.column * statement.columns().length + weights.placeholder * text.placeholders.length

const commasIn = (sql: string): number => {
  let count = 0
  for (let at = sql.indexOf(","); at >= 0; at = sql.indexOf(",", at + 1)) count++
  return count
}

export class Statements {
  readonly #authorizer: Authorizer
  readonly #owner: Owner
  readonly #capacity: number
  readonly #bytesToKeep: number
  readonly #bySql = new Map<string, Prepared>()
  /** Used last at the tail. */
  readonly #byUse = new LinkedList.LinkedList<Prepared>()
  #bytes = 0

  constructor(authorizer: Authorizer, owner: Owner, capacity: number, bytesToKeep = statementBytesToKeep) {
    this.#authorizer = authorizer
    this.#owner = owner
    this.#capacity = capacity
    this.#bytesToKeep = bytesToKeep
  }

  get size(): number {
    return this.#bySql.size
  }

  /** About what those that are kept hold together. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * The statement for a text. Throws a `SqlError` if that is not exactly one, or if it may not do what it asks for, and
   * what Node throws if it is no good.
   */
  get(operation: string, sql: string, isAlone: boolean): Prepared {
    const last = this.#byUse.tail
    const known = last !== undefined && last.sql === sql ? last : this.#bySql.get(sql)
    if (known === undefined) return this.#prepare(operation, sql, isAlone)
    if (known !== last) LinkedList.move(this.#byUse, known)
    // A demand that one lease may make, another may not.
    if (known.demands !== undefined) {
      for (const demand of known.demands) this.#owner.admit(demand, operation, sql, isAlone)
    }
    return known
  }

  /** A statement for the caller alone, which may take its time with it: a kept one that is run again would start over. */
  fresh(operation: string, sql: string, isAlone: boolean): Prepared {
    const text = readSql(operation, sql)
    if (text.statements > 1) {
      throw invalidSql(
        operation,
        `${operation}: the SQL holds ${text.statements} statements, but must hold one: use exec for a script`
      )
    }
    const demands: Array<Demand> = []
    const recalls: Array<Recall> = []
    const statement = this.#authorizer.prepare(sql, {
      demanded: (demand) => {
        // To compile it has no effect, and while SQLite is at it, it cannot be asked whether a trigger is behind it.
        if (demand.kind === "recall") recalls.push(demand)
        else {
          this.#owner.admit(demand, operation, sql, isAlone)
          demands.push(demand)
        }
      }
    })
    for (const demand of recalls) {
      // A trigger asks for what it did itself, or the statement that it belongs to.
      if (demand.source !== null && this.#owner.isTrigger(demand.source)) continue
      this.#owner.admit(demand, operation, sql, isAlone)
      demands.push(demand)
    }
    return new Prepared(sql, text, statement, demands.length === 0 ? undefined : demands)
  }

  #prepare(operation: string, sql: string, isAlone: boolean): Prepared {
    const prepared = this.fresh(operation, sql, isAlone)
    if (this.#capacity > 0) {
      const bytes = weightOf(prepared)
      if (bytes > this.#bytesToKeep) return prepared
      prepared.bytes = bytes
      this.#bySql.set(sql, prepared)
      LinkedList.push(this.#byUse, prepared)
      this.#bytes += prepared.bytes
      while (this.#bySql.size > this.#capacity || this.#bytes > this.#bytesToKeep) this.#forget()
    }
    return prepared
  }

  /** Node frees the statement when nothing refers to it any more. */
  #forget(): void {
    const oldest = LinkedList.shift(this.#byUse)!
    this.#bySql.delete(oldest.sql)
    this.#bytes -= oldest.bytes
  }
}

/** Scans a text of SQL. Throws a `SqlError` if it holds no statement, or if SQLite would see another text. */
export const readSql = (operation: string, sql: unknown): SqlText.SqlText => {
  if (typeof sql !== "string") throw invalidSql(operation, `${operation}: the SQL is not text but ${typeof sql}`)
  if (sql.includes("\0")) throw invalidSql(operation, `${operation}: the SQL holds a NUL, where SQLite would stop`)
  if (!sql.isWellFormed()) throw invalidSql(operation, `${operation}: the SQL holds half a surrogate pair`)
  const text = SqlText.read(sql)
  if (text.statements === 0) throw invalidSql(operation, `${operation}: the SQL holds no statement`)
  return text
}
