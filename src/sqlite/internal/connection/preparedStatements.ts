/**
 * The prepared statements of one connection. If there are too many, it forgets a random one of those that were not used
 * recently.
 *
 * To forget the least recently used statement would have a cliff. If one statement more than the limit is used in turn, each
 * is forgotten just before it is needed again. With a random choice, only about two statements of each turn are missing.
 */
import type { StatementSync } from "node:sqlite"
import { type Failure, invalidSql } from "../failures.ts"
import type { Authorizer } from "../sql/authorizer.ts"
import type { Demand, Recall } from "../sql/demands.ts"
import * as SqlText from "../sql/scanner.ts"
import { Tables } from "../sql/tables.ts"

/**
 * The effect of a statement outside of transactions. `stores`: it changes the file, and can run in a transaction. `other`:
 * it changes something else, or cannot run in a transaction.
 */
export type StatementEffect = "reads" | "stores" | "other"

const effectOf = (
  text: SqlText.SqlText,
  demands: ReadonlyArray<Demand> | undefined,
  tables: Tables
): StatementEffect => {
  if (text.isRead) return "reads"
  const isSpecial = text.controlsTransaction || !tables.isWriting ||
    demands?.some(({ kind }) => kind === "pragma" || kind === "attach" || kind === "detach") === true
  return isSpecial ? "other" : "stores"
}

/**
 * A statement that SQLite has compiled. After a change of the schema SQLite compiles it again by itself.
 *
 * In `node:sqlite`, the form of the rows is a property of the statement. It is set again only if the next caller wants
 * another form.
 */
export class Prepared {
  readonly sql: string
  readonly text: SqlText.SqlText
  readonly statement: StatementSync
  /** The demands of the statement on the connection. Most statements have none. */
  readonly demands: ReadonlyArray<Demand> | undefined
  /** The tables that the statement reads and writes. SQLite adds to them when it compiles the statement again. */
  readonly tables: Tables
  /** Known when it was compiled: while `vacuum` runs, SQLite reports tables that others write. */
  readonly effect: StatementEffect
  /** Whether something has to be noted after the statement has run. */
  readonly isNoted: boolean
  /** The estimated memory that the statement holds while it is kept: see `weightOf`. */
  bytes = 0
  /** The index of the statement in the list of kept statements. */
  position = -1
  /** How often the statement may be spared when another needs room. Each use adds one, up to `mostCredit`. */
  credit = 0
  #columns: ReadonlyArray<string> = []
  /** The number of notes about its tables when its columns were read. Not set before that. */
  #columnsAt: number | undefined = undefined
  #givesArrays = false
  #givesBigInts = false

  constructor(
    sql: string,
    text: SqlText.SqlText,
    statement: StatementSync,
    demands: ReadonlyArray<Demand> | undefined,
    tables: Tables
  ) {
    this.sql = sql
    this.text = text
    this.statement = statement
    this.demands = demands
    this.tables = tables
    this.effect = effectOf(text, demands, tables)
    this.isNoted = demands !== undefined || !text.isRead
    // Parameters are given with their prefixes, because one name may have several prefixes.
    if (text.isNamed) statement.setAllowBareNamedParameters(false)
  }

  /** The names of its columns. After a change of the schema, they are right once the statement has run. */
  get columns(): ReadonlyArray<string> {
    const { noted } = this.tables
    if (this.#columnsAt !== noted) {
      this.#columns = this.statement.columns().map(({ name }) => name)
      this.#columnsAt = noted
    }
    return this.#columns
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

/** The connection to which the statements belong. */
export interface Owner {
  /** Throws if a statement may not make the demand. */
  readonly admit: (demand: Demand, operation: string, sql: string, isAlone: boolean) => void
  /** Whether a trigger has this name. */
  readonly isTrigger: (name: string) => boolean
}

/**
 * The memory that all kept statements of one connection may hold, in bytes of `weightOf`. Without this limit, a few
 * hundred statements with many values in their texts, or with many columns, would hold hundreds of megabytes.
 */
export const statementBytesToKeep = 16 * 1024 * 1024

/** The bytes that each part of a statement holds: measured as the growth of memory with 200 statements. */
const weights = {
  /** A statement without its parts, in SQLite and in Node. */
  statement: 4096,
  /** The copies of the text. */
  textByte: 8,
  /** An item of a list: its instructions and its register. */
  comma: 128,
  /** A column of the result: its full names and its register. */
  column: 512,
  placeholder: 64
}

/**
 * Estimates the memory that a statement holds, in bytes. Neither SQLite nor Node reports it. For lists of 1500 items or
 * columns, the estimate was 0.7 to 2.3 times the measured value.
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
  /** The kept statements, in no particular order. */
  readonly #kept: Array<Prepared> = []
  #last: Prepared | undefined = undefined
  #chance = 1
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

  /** The estimated memory of all kept statements. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * The prepared statement for a text. Throws a `Failure` if the text is not one statement, or if the statement makes
   * a demand that is refused. Throws the error of Node if SQLite rejects the text.
   */
  get(operation: string, sql: string, isAlone: boolean): Prepared {
    const last = this.#last
    const known = last !== undefined && last.sql === sql ? last : this.#bySql.get(sql)
    if (known === undefined) return this.#prepare(operation, sql, isAlone)
    if (known.credit < mostCredit) known.credit++
    this.#last = known
    // The demand was allowed in the lease that prepared the statement. This lease may have other rights.
    if (known.demands !== undefined) {
      for (const demand of known.demands) this.#owner.admit(demand, operation, sql, isAlone)
    }
    return known
  }

  /** Prepares a statement that is not kept, for a cursor. A kept statement would restart if it ran again meanwhile. */
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
    const tables = new Tables()
    const statement = this.#authorizer.prepare(sql, {
      demanded: (demand) => {
        // These are decided below, because SQLite cannot be asked about triggers while it compiles a statement.
        if (demand.kind === "recall") recalls.push(demand)
        else {
          this.#owner.admit(demand, operation, sql, isAlone)
          demands.push(demand)
        }
      }
    }, tables)
    for (const demand of recalls) {
      // In a trigger, such a function is about the statements of the trigger, or the statement that has fired it.
      if (demand.source !== null && this.#owner.isTrigger(demand.source)) continue
      this.#owner.admit(demand, operation, sql, isAlone)
      demands.push(demand)
    }
    return new Prepared(sql, text, statement, demands.length === 0 ? undefined : demands, tables)
  }

  #prepare(operation: string, sql: string, isAlone: boolean): Prepared {
    const prepared = this.fresh(operation, sql, isAlone)
    if (this.#capacity > 0) {
      const bytes = weightOf(prepared)
      if (bytes > this.#bytesToKeep) return prepared
      while (this.#kept.length >= this.#capacity || this.#bytes + bytes > this.#bytesToKeep) this.#forget()
      prepared.bytes = bytes
      prepared.position = this.#kept.length
      this.#kept.push(prepared)
      this.#bySql.set(sql, prepared)
      this.#bytes += bytes
      this.#last = prepared
    }
    return prepared
  }

  /** Removes a statement. Recently used statements are spared a few times. Node frees it when nothing refers to it. */
  #forget(): void {
    const kept = this.#kept
    let found = this.#any()
    for (let spared = 0; found.credit > 0 && spared < mostSpared; spared++) {
      found.credit--
      found = this.#any()
    }
    const last = kept.pop()!
    if (last !== found) {
      kept[found.position] = last
      last.position = found.position
    }
    this.#bySql.delete(found.sql)
    this.#bytes -= found.bytes
    if (this.#last === found) this.#last = undefined
  }

  /** Any statement that is kept: the next number of a xorshift generator decides. */
  #any(): Prepared {
    this.#chance ^= this.#chance << 13
    this.#chance ^= this.#chance >>> 17
    this.#chance ^= this.#chance << 5
    return this.#kept[(this.#chance >>> 0) % this.#kept.length]!
  }
}

const mostCredit = 3

/** The number of spared statements after which the next is removed, even if it was used recently. */
const mostSpared = 8

/** The failure for SQL that is no text. */
export const notText = (operation: string, sql: unknown): Failure =>
  invalidSql(operation, `${operation}: the SQL is not text but ${typeof sql}`)

/** Scans SQL. Throws a `Failure` if the text has no statement, or if SQLite would read a different text. */
export const readSql = (operation: string, sql: unknown): SqlText.SqlText => {
  if (typeof sql !== "string") throw notText(operation, sql)
  if (sql.includes("\0")) throw invalidSql(operation, `${operation}: the SQL holds a NUL, where SQLite would stop`)
  if (!sql.isWellFormed()) throw invalidSql(operation, `${operation}: the SQL holds half a surrogate pair`)
  const text = SqlText.read(sql)
  if (text.statements === 0) throw invalidSql(operation, `${operation}: the SQL holds no statement`)
  return text
}
