/** The handle of one open SQLite database. Statements run only here. It is synchronous, and does not know pools. */
import { backup } from "node:sqlite"
import { Recorder } from "../../../internal/pool/recorder.ts"
import type { BackupProgress } from "../contract/backup.ts"
import type { RunResult } from "../contract/values.ts"
import * as Failures from "../failures.ts"
import type { Settings } from "../options/connection.ts"
import type { SqlText } from "../sql/scanner.ts"
import { bind, type Params } from "./binding.ts"
import { Cursors, FirstRead, streamed } from "./cursors.ts"
import { Database } from "./database.ts"
import { Exposed, type Lender } from "./exposed.ts"
import { knownFailure } from "./functions.ts"
import { Numbers, rowidOf, runRefusesNumbers, withNumbers } from "./integers.ts"
import { Observed } from "./observed.ts"
import { type Owner, type Prepared, Statements } from "./preparedStatements.ts"
import * as Refusal from "./refusal.ts"
import { type Progress, runScript } from "./script.ts"
import { Session } from "./session.ts"
import { Units } from "./units.ts"
import { inTransaction, mayNeedSavepoint } from "./whole.ts"

/** Its operations throw only a `Failure`. The constructor, `configure` and `reopen` throw the errors of Node. */
export class Handle {
  readonly settings: Settings
  /** Transactions around work that runs in one step. */
  readonly units: Units
  readonly observed: Observed
  /** Notes each statement of a caller. */
  readonly recorder = Recorder.unread()
  /** Its settings, and the changes of statements to them. */
  readonly session: Session
  #database: Database
  #statements: Statements
  #isOpen = true
  /** Whether the file is a database, and has its settings. */
  #isReady = false
  /** Whether a failure of the disk or of memory has left the connection in doubt. */
  #isBroken = false
  #isQueryOnly = false
  /** Why the present lease may not write now. Not set if it may. */
  #restriction: string | undefined
  readonly #cursors: Cursors

  /** Opens the file. Only `configure` notices that the file is no database. */
  constructor(settings: Settings) {
    this.settings = settings
    this.#database = new Database(settings)
    this.observed = new Observed(this.#database, settings.isMemory || settings.lasting !== undefined)
    this.#cursors = new Cursors(this.observed, this.recorder)
    const failure = (thrown: unknown, sql: string) => this.#failure(thrown, "write", sql)
    this.units = new Units(this.#database, this.observed, this.recorder, failure)
    this.session = new Session(settings, this.#database, this.units, (operation, sql) => this.#refusal(operation, sql))
    this.#statements = this.#newStatements()
  }

  /** Whether it is open and can be trusted: no failure of the disk or of memory has happened. */
  get isUsable(): boolean {
    return this.#isOpen && !this.#isBroken
  }

  /** Whether the last lease has left something behind: a changed setting, a restriction, a cursor or a transaction. */
  get needsReset(): boolean {
    return this.#isOpen && (this.session.needsReset || this.#restriction !== undefined || this.isPinning)
  }

  /** Whether it pins a state of the database: it is in a transaction, or has a cursor open. */
  get isPinning(): boolean {
    return this.#isOpen && (this.#cursors.size > 0 || this.#database.sqlite.isTransaction)
  }

  /** Runs `f`, but not while a SQL function runs: then it runs when the statement has ended, which fails. */
  afterwards(f: () => void): void {
    this.#database.functions.afterwards(f)
  }

  /**
   * Gives up a file that is no longer the one at its path: from now on, nobody can use it. Returns a function that closes it, and
   * before that moves its log to it, wherever it is now, unless `log` is `undefined`.
   */
  leave(log: "empty" | "end" | undefined): () => void {
    const database = this.#database
    this.#isBroken = true
    this.afterwards(() => {
      this.closeCursors(Failures.closed("stream"))
      this.#isOpen = false
    })
    return () => database.leave(log)
  }

  get cachedStatements(): number {
    return this.#statements.size
  }

  /** The rows of a statement, as arrays or as objects without a prototype. `isAlone`: see `Circumstances` in `demands.ts`. */
  rows(
    operation: string,
    sql: string,
    params: Params | undefined,
    arrays: boolean,
    bigInts: boolean,
    isAlone = false
  ): Array<unknown> {
    const prepared = this.prepare(operation, sql, isAlone)
    const bound = bind(operation, prepared.text, params)
    // A write is stored before its rows are read, so a large integer in them must not be an error: see `integers.ts`.
    const isExact = bigInts || prepared.text.isWrite
    const statement = prepared.giving(arrays, isExact)
    try {
      const rows = mayNeedSavepoint(this.#database, prepared)
        ? inTransaction(this.#database, this.units, prepared, () => statement.all(...bound))
        : statement.all(...bound)
      if (prepared.isNoted) this.#ran(prepared)
      return isExact === bigInts ? rows : rows.map(withNumbers)
    } catch (thrown) {
      throw this.#stopped(operation, prepared, thrown)
    } finally {
      this.recorder.end()
    }
  }

  /** The rows of a statement, read step by step. The caller closes the cursor. */
  cursor(operation: string, sql: string, params: Params | undefined, bigInts: boolean, isAlone = false, as = streamed) {
    const prepared = this.prepare(operation, sql, isAlone, as.which)
    const bound = bind(operation, prepared.text, params)
    const isExact = bigInts || prepared.text.isWrite
    const statement = prepared.giving(as.arrays, isExact)
    try {
      const rows: Iterator<unknown> = mayNeedSavepoint(this.#database, prepared)
        ? inTransaction(this.#database, this.units, prepared, () => statement.all(...bound)).values()
        : statement.iterate(...bound)
      const numbers = isExact === bigInts ? rows : new Numbers(rows)
      const { demands } = prepared
      const given = demands === undefined ? numbers : new FirstRead(numbers, () => this.session.done(demands))
      const failure = (thrown: unknown) => this.#stopped(operation, prepared, thrown)
      return this.#cursors.open(prepared, given, this.#database.functions, failure)
    } catch (thrown) {
      this.recorder.end()
      throw this.#stopped(operation, prepared, thrown)
    }
  }

  /** Closes all cursors. Later reads of them fail with the error, if there is one. */
  closeCursors = (error?: Failures.Failure): void => this.#cursors.close(error)

  /** The rows of a statement; its result if it has no columns. */
  rowsOrResult(
    operation: string,
    sql: string,
    params: Params | undefined,
    bigInts: boolean,
    isAlone = false
  ): Array<unknown> | RunResult {
    const prepared = this.prepare(operation, sql, isAlone)
    return prepared.statement.columns().length > 0
      ? this.rows(operation, sql, params, false, bigInts, isAlone)
      : this.#run(operation, prepared, params, bigInts)
  }

  /** Runs a statement as often as `f` likes. For work that is undone as a whole if `f` throws. */
  repeat(operation: string, sql: string, f: (prepared: Prepared) => void): void {
    const prepared = this.prepare(operation, sql, false)
    try {
      f(prepared)
      if (prepared.isNoted) this.#ran(prepared)
    } catch (thrown) {
      throw this.#stopped(operation, prepared, thrown)
    } finally {
      this.recorder.end()
    }
  }

  run(operation: string, sql: string, params: Params | undefined, bigInts: boolean, isAlone = false): RunResult {
    return this.#run(operation, this.prepare(operation, sql, isAlone), params, bigInts)
  }

  #run(operation: string, prepared: Prepared, params: Params | undefined, bigInts: boolean): RunResult {
    const bound = bind(operation, prepared.text, params)
    const statement = prepared.giving(false, runRefusesNumbers())
    try {
      const { changes, lastInsertRowid } = mayNeedSavepoint(this.#database, prepared)
        ? inTransaction(this.#database, this.units, prepared, () => statement.run(...bound))
        : statement.run(...bound)
      if (prepared.isNoted) this.#ran(prepared)
      return {
        // For a statement that is no write, SQLite reports the changes of the last write.
        changes: prepared.text.isWrite ? Number(changes) : 0,
        lastInsertRowid: rowidOf(lastInsertRowid, bigInts, () => this.#database.lastInsertRowid())
      }
    } catch (thrown) {
      throw this.#stopped(operation, prepared, thrown)
    } finally {
      this.recorder.end()
    }
  }

  #ran({ demands, tables }: Prepared): void {
    if (demands !== undefined) this.session.done(demands)
    this.observed.ran(tables)
  }

  #stopped(operation: string, { sql, tables }: Prepared, thrown: unknown): Failures.Failure {
    this.units.stopped(thrown)
    this.observed.ran(tables)
    return this.#failure(thrown, operation, sql)
  }

  /** Runs a script: see `script.ts`. */
  exec(operation: string, script: string, progress?: Progress): void {
    this.assertFree(operation)
    const { observed, recorder, session, units } = this
    const admit = (text: SqlText) => this.#admit(operation, script, text)
    const parts = { database: this.#database, session, observed, units, recorder, admit }
    this.#guard(operation, script, () => runScript(parts, operation, script, progress))
  }

  isTransaction(operation: string): boolean {
    if (!this.#isOpen) throw Failures.closed(operation)
    return this.#database.sqlite.isTransaction
  }

  /** Lets SQLite refuse every write for the reason `why`, until this is called with `undefined`. */
  restrict(operation: string, why: string | undefined): void {
    const isQueryOnly = why !== undefined && !this.settings.isReadOnly
    if (this.#isQueryOnly !== isQueryOnly) {
      this.#exec(operation, `pragma query_only = ${isQueryOnly}`)
      this.#isQueryOnly = isQueryOnly
    }
    this.#restriction = why
  }

  /** Turns foreign keys off until `resumeForeignKeys`. SQLite ignores that within a transaction. */
  suspendForeignKeys(operation: string): void {
    this.#guard(operation, "pragma foreign_keys = off", () => this.session.suspendForeignKeys())
  }

  /** Defers the check of foreign keys to the commit of the open transaction. */
  deferForeignKeys(operation: string): void {
    this.units.deferAllKeys()
    this.#exec(operation, "pragma defer_foreign_keys = on")
  }

  /** Ends the transaction, if there is one: SQLite may have ended it by itself. */
  rollback(operation: string): void {
    this.restrict(operation, undefined)
    this.session.endBulk()
    if (!this.isTransaction(operation)) return
    this.#exec(operation, "rollback")
    this.observed.rolledBack()
    if (this.#database.sqlite.isTransaction) {
      throw Failures.failed(operation, `${operation}: the transaction does not end`)
    }
  }

  /**
   * Copies the database to a file in another thread, some pages in each step. It ends if `onProgress` throws. Nothing
   * else may be done with the handle until it has ended. Throws or rejects with the errors of Node.
   */
  backup(target: string, pagesAtATime: number, onProgress: (progress: BackupProgress) => void): Promise<number> {
    return backup(this.#database.sqlite, target, { rate: pagesAtATime, progress: onProgress })
  }

  /** Loads an extension of SQLite on this connection. */
  loadExtension(operation: string, path: string): void {
    this.assertFree(operation)
    this.#guard(operation, path, () => this.#database.loadExtension(path))
  }

  /** Lends the driver's own handle. After this, the connection counts as altered. */
  expose(operation: string, lender: Lender): Exposed {
    this.assertFree(operation)
    this.session.alter()
    return new Exposed(this.#database.sqlite, lender)
  }

  /** The driver's own handle is not lent any more: forgets what is not certain now. */
  concealed(exposed: Exposed): void {
    exposed.end()
    this.#database.functions.settle()
    if (!this.#isOpen) return
    this.#statements = this.#newStatements()
    this.units.restart(this.#database)
    this.observed.anythingHappened()
  }

  /** Sets the pragmas of the settings, and reads the file. Throws a `Failure` if SQLite keeps another journal mode. */
  configure(): void {
    this.session.configure()
    this.#isReady = true
  }

  /** `onOpen` has ended: from now on, changes of settings belong to a lease. Throws if a transaction was left open. */
  endOpening(): void {
    this.closeCursors()
    if (this.#database.sqlite.isTransaction) {
      throw Failures.invalidInput("open", "onOpen left a transaction open: end it there")
    }
    this.session.endOpening()
  }

  /** Closes the file and opens it again, which undoes the changes of a lease. */
  reopen(): void {
    this.#isReady = false
    this.#database.close()
    this.#isOpen = false
    this.#database = new Database(this.settings)
    this.#isOpen = true
    this.session.restart(this.#database)
    this.units.restart(this.#database)
    this.observed.restart(this.#database)
    this.#statements = this.#newStatements()
  }

  /** Closes the file and all cursors. Does nothing if it is closed already. */
  close(): void {
    if (!this.#isOpen) return
    // Node crashes if a database is closed by a SQL function that it runs.
    if (this.#database.functions.isRunning) {
      this.#isBroken = true
      return this.afterwards(() => this.close())
    }
    this.closeCursors(Failures.closed("stream"))
    this.#isOpen = false
    const { isMemory, isReadOnly } = this.settings
    if (this.#isReady && !this.#isBroken && !isReadOnly && !isMemory) {
      // Updates old statistics: https://sqlite.org/lang_analyze.html#recommended_usage_patterns.
      this.#database.tryPragma("pragma optimize")
    }
    this.#database.close()
  }

  #newStatements(): Statements {
    const { authorizer } = this.#database
    authorizer.subject = this.session.running
    const owner: Owner = { admit: this.session.admit, isTrigger: (name) => this.#database.isTrigger(name) }
    return new Statements(authorizer, owner, this.settings.statementCacheSize)
  }

  /** The statement for a text. It has to run next, because its tables are noted from now on. */
  prepare(operation: string, sql: string, isAlone: boolean, which: "get" | "fresh" = "get"): Prepared {
    this.assertFree(operation)
    this.recorder.begin(sql)
    try {
      this.units.recompile()
      const prepared = this.#statements[which](operation, sql, isAlone)
      if (prepared.text.controlsTransaction || this.units.isOpen) this.#admit(operation, sql, prepared.text)
      this.observed.runs(prepared.tables)
      return prepared
    } catch (thrown) {
      this.recorder.end()
      throw this.#failure(thrown, operation, sql)
    }
  }

  #admit(operation: string, sql: string, text: SqlText): void {
    // A reader would begin a transaction that cannot write, without an error.
    if (text.takesLock && this.settings.isReadOnly) throw this.#refusal(operation, sql)
    if (this.units.isOpen) this.units.admit(operation, sql, text)
  }

  /** Throws if it is closed, or if a SQL function of the application runs on it now. */
  assertFree(operation: string): void {
    if (!this.#isOpen) throw Failures.closed(operation)
    this.#database.functions.assertNone(operation)
  }

  /** The error for a write on a connection that only reads, for now or always. */
  #refusal(operation: string, sql: string, thrown?: unknown): Failures.Failure {
    return Failures.readOnlyRefusal(
      operation,
      sql,
      this.#restriction ?? this.settings.refusal ?? Refusal.ofConnection,
      thrown
    )
  }

  /** Runs a statement of this library, not of a caller. */
  #exec = (operation: string, sql: string): void => this.#guard(operation, sql, () => this.#database.own(sql))

  #guard(operation: string, sql: string, f: () => void): void {
    try {
      f()
    } catch (thrown) {
      throw this.#failure(thrown, operation, sql)
    }
  }

  #failure(thrown: unknown, operation: string, sql: string): Failures.Failure {
    const { functions } = this.#database
    functions.settle()
    const known = knownFailure(thrown, operation, sql, functions)
    if (known !== undefined) return known
    if (!this.#isOpen) return Failures.closed(operation)
    const code = Failures.codeOfThrown(thrown)
    if (code === Failures.READONLY && (this.settings.isReadOnly || this.#restriction !== undefined)) {
      return this.#refusal(operation, sql, thrown)
    }
    // A connection to memory is kept, because its database would be lost.
    if (Failures.leavesInDoubt(code) && !this.settings.isMemory) this.#isBroken = true
    return Failures.fromSqlite(thrown, operation, { sql, isInUnit: this.units.isOpen })
  }
}
