/** The handle of one open SQLite database: the only place where statements run. Synchronous, and knows nothing of pools. */
import { Predicate } from "effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { backup } from "node:sqlite"
import type { BackupProgress } from "../contract/backup.ts"
import type { RunResult } from "../contract/values.ts"
import {
  closed,
  codeOfThrown,
  failed,
  fromSqlite,
  integerTooBig,
  invalidInput,
  leavesInDoubt,
  READONLY,
  readOnlyRefusal
} from "../errors.ts"
import type { Settings } from "../options/connection.ts"
import type { Subject } from "../sql/authorizer.ts"
import type { Demand } from "../sql/demands.ts"
import { bind, type Params } from "./binding.ts"
import { Cursor } from "./cursor.ts"
import { Database } from "./database.ts"
import { exactly, Numbers, runRefusesNumbers, withNumbers } from "./integers.ts"
import { type Owner, type Prepared, readSql, Statements } from "./preparedStatements.ts"
import * as Refusal from "./refusal.ts"
import { Session } from "./session.ts"

/** How far a script has run: the characters that are done. */
export interface Progress {
  done: number
}

/** Its operations throw a `SqlError`, and nothing else. The constructor, `configure` and `reopen` throw what Node throws. */
export class Handle {
  readonly settings: Settings
  readonly #session: Session
  #database: Database
  #statements: Statements
  #isOpen = true
  /** Whether the file has turned out to be a database, and the settings are made. */
  #isReady = false
  /** Whether a failure of the disk or of memory has left the connection in doubt. */
  #isBroken = false
  #isQueryOnly = false
  /** Why the present lease may not write for the time being, if so. */
  #restriction: string | undefined
  readonly #cursors = new Set<Cursor>()

  /** Opens the file. Wrong contents show only in `configure`. */
  constructor(settings: Settings) {
    this.settings = settings
    this.#database = new Database(settings)
    this.#session = new Session(settings, this.#database, (operation, sql) => this.#refusal(operation, sql))
    this.#statements = this.#newStatements()
  }

  /** Whether it is open, and no failure of the disk or the memory has left it in doubt. */
  get isUsable(): boolean {
    return this.#isOpen && !this.#isBroken
  }

  /** Whether a lease has changed a setting, attached a database or made a temporary table. */
  get isAltered(): boolean {
    return this.#session.isAltered
  }

  /** Whether the next user would find anything of the one before. */
  get needsReset(): boolean {
    return this.#isOpen &&
      (this.isAltered || this.#restriction !== undefined || this.#cursors.size > 0 ||
        this.#database.sqlite.isTransaction)
  }

  /** Whether it pins a state of the database: in a transaction, or with rows still to be read. */
  get isPinning(): boolean {
    return this.#isOpen && (this.#cursors.size > 0 || this.#database.sqlite.isTransaction)
  }

  /** Closes the file and writes nothing to it, because it is no longer the file at its path. */
  abandon(): void {
    this.#isBroken = true
    this.close()
  }

  /** Moves the log to the file, as far as possible. */
  emptyLog(): void {
    this.#database.attempt("pragma wal_checkpoint(truncate)")
  }

  /**
   * Moves the log to the file, wherever that is now, and deletes it where the file was opened. Does nothing if others have
   * the file open.
   */
  endLog(): void {
    // SQLite cannot note the mode in a file that was moved. It fails at that only after the log is gone.
    this.#database.attempt("pragma journal_mode = delete")
  }

  get cachedStatements(): number {
    return this.#statements.size
  }

  /**
   * The rows, as arrays or as objects without a prototype. With `isAlone`, here and below, the lease is for this statement
   * only, and an effect that would be gone with the lease is refused.
   */
  rows(
    operation: string,
    sql: string,
    params: Params | undefined,
    arrays: boolean,
    bigInts: boolean,
    isAlone = false
  ): Array<unknown> {
    const prepared = this.#prepare(operation, sql, isAlone)
    const bound = bind(operation, prepared.text, params)
    // A write is stored before its rows are read, so it can no longer fail because no number can hold one of them.
    const isExact = bigInts || prepared.text.isWrite
    const statement = prepared.giving(arrays, isExact)
    try {
      const rows = statement.all(...bound)
      if (prepared.demands !== undefined) this.#session.done(prepared.demands)
      return isExact === bigInts ? rows : rows.map(withNumbers)
    } catch (thrown) {
      throw this.#failureOf(thrown, operation, sql)
    }
  }

  /** The rows as objects without a prototype, read as they are asked for. The caller closes the cursor. */
  cursor(
    operation: string,
    sql: string,
    params: Params | undefined,
    bigInts: boolean,
    isAlone = false
  ): Cursor {
    const prepared = this.#prepare(operation, sql, isAlone, "fresh")
    const bound = bind(operation, prepared.text, params)
    const isExact = bigInts || prepared.text.isWrite
    const statement = prepared.giving(false, isExact)
    try {
      const rows: Iterator<unknown> = statement.iterate(...bound)
      const cursor = new Cursor(
        isExact === bigInts ? rows : new Numbers(rows),
        (thrown) => this.#failureOf(thrown, operation, sql),
        (closed) => this.#cursors.delete(closed)
      )
      this.#cursors.add(cursor)
      if (prepared.demands !== undefined) this.#session.done(prepared.demands)
      return cursor
    } catch (thrown) {
      throw this.#failure(thrown, operation, sql)
    }
  }

  /** Closes the cursors that are open. A reader that goes on gets the error, if there is one. */
  closeCursors(error?: SqlError): void {
    for (const cursor of this.#cursors) cursor.close(error)
  }

  /** The rows of a statement; or what it did, if it can return no rows. */
  rowsOrResult(
    operation: string,
    sql: string,
    params: Params | undefined,
    bigInts: boolean,
    isAlone = false
  ): Array<unknown> | RunResult {
    const prepared = this.#prepare(operation, sql, isAlone)
    return prepared.statement.columns().length > 0
      ? this.rows(operation, sql, params, false, bigInts, isAlone)
      : this.#run(operation, prepared, params, bigInts)
  }

  /** Begins a transaction that may write. Fails on a reader, where SQLite would begin one that cannot. */
  begin(isolation: string): void {
    const sql = `begin ${isolation}`
    if (this.settings.isReadOnly) throw this.#refusal("begin", sql)
    this.run("begin", sql, undefined, false)
  }

  run(operation: string, sql: string, params: Params | undefined, bigInts: boolean): RunResult {
    return this.#run(operation, this.#prepare(operation, sql, false), params, bigInts)
  }

  #run(operation: string, prepared: Prepared, params: Params | undefined, bigInts: boolean): RunResult {
    const bound = bind(operation, prepared.text, params)
    const statement = prepared.giving(false, runRefusesNumbers())
    try {
      const { changes, lastInsertRowid } = statement.run(...bound)
      if (prepared.demands !== undefined) this.#session.done(prepared.demands)
      return {
        // Of any other statement, SQLite reports the changes of the one before.
        changes: prepared.text.isWrite ? Number(changes) : 0,
        lastInsertRowid: this.#rowid(lastInsertRowid, bigInts)
      }
    } catch (thrown) {
      throw this.#failure(thrown, operation, prepared.sql)
    }
  }

  /** Runs a script, one statement after the other. With `progress`, goes on behind what is done, and notes what is. */
  exec(operation: string, script: string, progress?: Progress): void {
    if (!this.#isOpen) throw closed(operation)
    const text = readSql(operation, script)
    if (text.placeholders.length > 0) throw invalidInput(operation, `${operation}: a script takes no parameters`)
    if (text.takesLock) this.#refuseLock(operation, script)
    if (progress === undefined || text.statements === 1) return this.#script(operation, script)
    for (const end of text.ends) {
      if (end <= progress.done) continue
      this.#script(operation, script.slice(progress.done, end))
      progress.done = end
    }
  }

  #script(operation: string, script: string): void {
    const demands: Array<Demand> = []
    const subject: Subject = {
      demanded: (demand) => {
        this.#session.admit(demand, operation, script, false)
        demands.push(demand)
      }
    }
    try {
      this.#database.script(script, subject)
    } catch (thrown) {
      throw this.#failure(thrown, operation, script)
    } finally {
      // Where the script stops at a statement, the statements before it have had their effect.
      if (demands.length > 0 && this.#isOpen) this.#session.done(demands)
    }
  }

  isTransaction(operation: string): boolean {
    if (!this.#isOpen) throw closed(operation)
    return this.#database.sqlite.isTransaction
  }

  /** Lets SQLite refuse every write and say `why`, until this is called with nothing. */
  restrict(operation: string, why: string | undefined): void {
    const isQueryOnly = why !== undefined && !this.settings.isReadOnly
    if (this.#isQueryOnly !== isQueryOnly) {
      this.#exec(operation, `pragma query_only = ${isQueryOnly}`)
      this.#isQueryOnly = isQueryOnly
    }
    this.#restriction = why
  }

  /** Turns foreign keys off until they are resumed. SQLite ignores that within a transaction. */
  suspendForeignKeys(operation: string): void {
    this.#guard(operation, "pragma foreign_keys = off", () => this.#session.suspendForeignKeys())
  }

  /** Turns foreign keys on again, after the transaction. */
  resumeForeignKeys(): void {
    this.#session.resumeForeignKeys()
  }

  /** Defers the check of foreign keys to the commit of the transaction that is open. */
  deferForeignKeys(operation: string): void {
    this.#exec(operation, "pragma defer_foreign_keys = on")
  }

  /** Ends the transaction, if there is one: SQLite may have ended it by itself. */
  rollback(operation: string): void {
    this.restrict(operation, undefined)
    if (!this.isTransaction(operation)) return
    this.#exec(operation, "rollback")
    if (this.#database.sqlite.isTransaction) throw failed(operation, `${operation}: the transaction does not end`)
  }

  /**
   * Copies the database to a file, some pages at a time in another thread. What `onProgress` throws ends it. Until it has
   * ended, nothing else may be done here. Throws, or rejects with, what Node throws.
   */
  backup(target: string, pagesAtATime: number, onProgress: (progress: BackupProgress) => void): Promise<number> {
    return backup(this.#database.sqlite, target, { rate: pagesAtATime, progress: onProgress })
  }

  /** Extends SQLite on this connection. Throws a `SqlError` that says why not. */
  loadExtension(operation: string, path: string): void {
    if (!this.#isOpen) throw closed(operation)
    this.#guard(operation, path, () => this.#database.loadExtension(path))
  }

  /** Makes the settings, and reads the file. Throws a `SqlError` if a setting is not taken. */
  configure(): void {
    this.#session.configure()
    this.#isReady = true
  }

  /** From now on, a change belongs to the connection as it is opened. */
  beginOpening(): void {
    this.#session.beginOpening()
  }

  /** From now on, a change is that of a lease. Throws a `SqlError` if a transaction was left open. */
  endOpening(): void {
    this.closeCursors()
    if (this.#database.sqlite.isTransaction) throw invalidInput("open", "onOpen left a transaction open: end it there")
    this.#session.endOpening()
  }

  /** Undoes what a lease has changed, without opening anew: a database in memory would be gone with its connection. */
  undo(): void {
    this.#session.undo()
  }

  /** Closes the file and opens it anew, as if no lease had used it. */
  reopen(): void {
    this.#isReady = false
    this.#database.sqlite.close()
    this.#isOpen = false
    this.#database = new Database(this.settings)
    this.#isOpen = true
    this.#session.restart(this.#database)
    this.#statements = this.#newStatements()
  }

  /** Closes the file, and ends what is open. Does nothing if it is closed already. */
  close(): void {
    if (!this.#isOpen) return
    this.closeCursors(closed("stream"))
    this.#isOpen = false
    const { isMemory, isReadOnly } = this.settings
    if (this.#isReady && !this.#isBroken && !isReadOnly && !isMemory) {
      // Renews the statistics where they are out of date: https://sqlite.org/lang_analyze.html#recommended_usage_patterns.
      this.#database.attempt("pragma optimize")
    }
    this.#database.sqlite.close()
  }

  #newStatements(): Statements {
    const { authorizer } = this.#database
    authorizer.subject = this.#session.running
    const owner: Owner = { admit: this.#session.admit, isTrigger: (name) => this.#database.isTrigger(name) }
    return new Statements(authorizer, owner, this.settings.statementCacheSize)
  }

  #prepare(operation: string, sql: string, isAlone: boolean, which: "get" | "fresh" = "get"): Prepared {
    if (!this.#isOpen) throw closed(operation)
    try {
      const prepared = this.#statements[which](operation, sql, isAlone)
      if (prepared.text.takesLock) this.#refuseLock(operation, sql)
      return prepared
    } catch (thrown) {
      throw this.#failure(thrown, operation, sql)
    }
  }

  /** Refuses `begin immediate` on a reader: SQLite would begin a transaction that only reads, and not say so. */
  #refuseLock(operation: string, sql: string): void {
    if (this.settings.isReadOnly) throw this.#refusal(operation, sql)
  }

  /** The error for a statement that writes, on a connection that only reads, now or always. */
  #refusal(operation: string, sql: string, thrown?: unknown): SqlError {
    return readOnlyRefusal(operation, sql, this.#restriction ?? this.settings.refusal ?? Refusal.ofConnection, thrown)
  }

  /** Runs a statement that is the connection's own. */
  #exec(operation: string, sql: string): void {
    this.#guard(operation, sql, () => this.#database.own(sql))
  }

  #guard(operation: string, sql: string, f: () => void): void {
    try {
      f()
    } catch (thrown) {
      throw this.#failure(thrown, operation, sql)
    }
  }

  #failureOf(thrown: unknown, operation: string, sql: string): SqlError {
    return Predicate.hasProperty(thrown, "code") && thrown.code === "ERR_OUT_OF_RANGE"
      ? integerTooBig(thrown, operation)
      : this.#failure(thrown, operation, sql)
  }

  #failure(thrown: unknown, operation: string, sql: string): SqlError {
    if (isSqlError(thrown)) return thrown
    const code = codeOfThrown(thrown)
    if (code === READONLY && (this.settings.isReadOnly || this.#restriction !== undefined)) {
      return this.#refusal(operation, sql, thrown)
    }
    // A database in memory would be lost with its connection.
    if (leavesInDoubt(code) && !this.settings.isMemory) this.#isBroken = true
    return fromSqlite(thrown, operation)
  }

  #rowid(said: number | bigint, bigInts: boolean): number | bigint {
    if (typeof said === "bigint") return bigInts ? said : exactly(said)
    if (Number.isSafeInteger(said)) return bigInts ? BigInt(said) : said
    // Node has rounded it.
    return this.#database.lastInsertRowid()
  }
}
