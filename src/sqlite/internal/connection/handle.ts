/** One open SQLite database, and everything that is done to it: synchronous, and without an idea of pools. */
import { Predicate } from "effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { backup, DatabaseSync } from "node:sqlite"
import type { BackupProgress } from "../contract/backup.ts"
import type { RunResult } from "../contract/values.ts"
import {
  closed,
  codeOfThrown,
  denied,
  fromSqlite,
  fromSqliteSaying,
  primaryOf,
  READONLY,
  refused,
  refusedWrite,
  sqliteMessage
} from "../errors.ts"
import { nameOf, type Settings } from "../options/connection.ts"
import { Authorizer, type Subject } from "../sql/authorizer.ts"
import {
  alters,
  type Circumstances,
  type Demand,
  isSetting,
  keyOf,
  type Pragma,
  quoteName,
  refusalOf,
  spell,
  truthOf
} from "../sql/demands.ts"
import type { Lasting } from "../sql/lasting.ts"
import { bind, type Params } from "./binding.ts"
import { Cursor } from "./cursor.ts"
import { exactly, Numbers, runRefusesNumbers, withNumbers } from "./integers.ts"
import { type Owner, type Prepared, readSql, Statements } from "./preparedStatements.ts"
import * as Refusal from "./refusal.ts"

/** How many characters of a script are done. */
export interface Progress {
  done: number
}

/** Its operations throw a `SqlError`, and nothing else. To open and to configure it throws more: see there. */
export class Handle {
  readonly settings: Settings
  #database: DatabaseSync
  #authorizer: Authorizer
  #statements: Statements
  #isOpen = true
  /** Whether the file turned out to be a database, and the settings are made. */
  #isReady = false
  #isBroken = false
  #isAltered = false
  #isQueryOnly = false
  /** Why whoever has it may not write for the time being, if so. */
  #restriction: string | undefined
  /** Whether they are enforced. */
  #foreignKeys: boolean
  /** Whether foreign keys are off for a transaction. */
  #areKeysSuspended = false
  readonly #cursors = new Set<Cursor>()
  /** Of what SQLite compiles while statements run: again, or on its own account. */
  readonly #running: Subject = {
    demanded: ({ kind }) => {
      // Which table a name is of is found anew. An attached database is that of a `vacuum`.
      if (kind === "temporary" && !this.#keeps) this.#isAltered = true
    }
  }
  readonly #admit: Owner["admit"] = (demand, operation, sql, isAlone) => {
    // Only the connection that writes remembers that; where statements expect one connection, they mean that one.
    if (demand.kind === "recall" && this.settings.lasting !== undefined && !this.#keeps) {
      throw this.#refusal(operation, sql)
    }
    const at = this.#circumstances(isAlone)
    const refusal = refusalOf(demand, at)
    if (refusal !== undefined) throw denied(operation, sql, refusal)
    if (!this.#keeps && alters(demand, at)) this.#isAltered = true
    if (demand.kind !== "pragma" || demand.value === null || at.isTransaction && demand.name === "foreign_keys") return
    this.#track(demand)
    if (this.#isOpening && isSetting(demand)) this.#baseline.set(keyOf(demand), demand)
  }
  /** Pragmas that were set while it was opened, and are not what the settings say. */
  readonly #baseline = new Map<string, Pragma>()
  /** What else was there when it was opened, by name. */
  #kept: Session = nothing
  /** Whether what is set now belongs to the connection as it is opened. */
  #isOpening = false
  /** Whether what statements change about it lasts. */
  readonly #keeps: boolean

  /** Opens the file. Throws what Node throws. What is wrong with the contents shows only in `configure`. */
  constructor(settings: Settings) {
    this.settings = settings
    this.#foreignKeys = settings.foreignKeys
    this.#keeps = settings.lasting !== undefined && settings.lasting.isReadOnly === settings.isReadOnly
    this.#database = openDatabase(settings)
    this.#authorizer = new Authorizer(this.#database)
    this.#statements = this.#newStatements()
  }

  /** Whether it is open, and no failure of the disk or the memory has left it in doubt. */
  get isUsable(): boolean {
    return this.#isOpen && !this.#isBroken
  }

  /** Whether somebody has changed a setting, attached a database or made a temporary table. */
  get isAltered(): boolean {
    return this.#isAltered || this.#areKeysSuspended
  }

  /** Whether the next user would find anything of the one before. */
  get needsReset(): boolean {
    return this.#isOpen &&
      (this.isAltered || this.#restriction !== undefined || this.#cursors.size > 0 || this.#database.isTransaction)
  }

  /** Whether it pins a state of the database: in a transaction, or with rows still to be read. */
  get isPinning(): boolean {
    return this.#isOpen && (this.#cursors.size > 0 || this.#database.isTransaction)
  }

  /** Closes the file, because it is not the one it should be: nothing is done to it on the way. */
  abandon(): void {
    this.#isBroken = true
    this.close()
  }

  /** Moves the log to the file, as far as possible. */
  emptyLog(): void {
    this.#attempt("pragma wal_checkpoint(truncate)")
  }

  /**
   * Moves the log to the file, wherever that is now, and deletes it at the place where the file was opened. Does nothing if
   * others have the file open.
   */
  endLog(): void {
    // SQLite fails to note the mode in a file that was moved: only after the log is gone.
    this.#attempt("pragma journal_mode = delete")
  }

  #attempt(pragma: string): void {
    try {
      if (this.#database.isTransaction) this.#database.exec("rollback")
      this.#database.exec(pragma)
    } catch {
      // What is left is not applied to another file.
    }
  }

  get cachedStatements(): number {
    return this.#statements.size
  }

  /**
   * The rows: arrays or objects without a prototype. With `isAlone`, here and below, the connection is taken for this
   * statement only, and what would be gone with it is refused.
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
    // What is written is stored before its rows are read: it cannot fail any more over one that no number can hold.
    const isExact = bigInts || prepared.text.isWrite
    const statement = prepared.giving(arrays, isExact)
    try {
      const rows = statement.all(...bound)
      if (prepared.demands !== undefined) this.#done(prepared.demands)
      return isExact === bigInts ? rows : rows.map(withNumbers)
    } catch (thrown) {
      throw this.#failureOf(thrown, operation, sql)
    }
  }

  /** The rows as objects without a prototype, for a caller who takes its time. The cursor is theirs to close. */
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
      if (prepared.demands !== undefined) this.#done(prepared.demands)
      return cursor
    } catch (thrown) {
      throw this.#failure(thrown, operation, sql)
    }
  }

  /** Closes the cursors that are open; whoever reads on gets the error, if there is one. */
  closeCursors(error?: SqlError): void {
    for (const cursor of this.#cursors) cursor.close(error)
  }

  /** What a statement gives: rows, or if it has none to give, what it did. */
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

  /** Begins a transaction that may write; fails where none can, which SQLite would not say. */
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
      if (prepared.demands !== undefined) this.#done(prepared.demands)
      return {
        // Of any other statement, SQLite reports the changes of the one before.
        changes: prepared.text.isWrite ? Number(changes) : 0,
        lastInsertRowid: this.#rowid(lastInsertRowid, bigInts)
      }
    } catch (thrown) {
      throw this.#failure(thrown, operation, prepared.sql)
    }
  }

  /** Runs a script, one statement after the other. With `progress`, it goes on behind what is done, and notes it. */
  exec(operation: string, script: string, progress?: Progress): void {
    if (!this.#isOpen) throw closed(operation)
    const text = readSql(operation, script)
    if (text.placeholders.length > 0) throw refused(operation, `${operation}: a script takes no parameters`)
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
        this.#admit(demand, operation, script, false)
        demands.push(demand)
      }
    }
    try {
      this.#authorizer.for(subject, () => this.#database.exec(script))
    } catch (thrown) {
      throw this.#failure(thrown, operation, script)
    } finally {
      // Where it stops at a statement, those before it have done what they do.
      if (demands.length > 0 && this.#isOpen) this.#done(demands)
    }
  }

  isTransaction(operation: string): boolean {
    if (!this.#isOpen) throw closed(operation)
    return this.#database.isTransaction
  }

  /** Has SQLite refuse whatever writes, until this is called with nothing; what is refused is told `why`. */
  restrict(operation: string, why: string | undefined): void {
    const isQueryOnly = why !== undefined && !this.settings.isReadOnly
    if (this.#isQueryOnly !== isQueryOnly) {
      this.#exec(operation, `pragma query_only = ${isQueryOnly}`)
      this.#isQueryOnly = isQueryOnly
    }
    this.#restriction = why
  }

  /** Has foreign keys not enforced until they are resumed. SQLite ignores that within a transaction. */
  suspendForeignKeys(operation: string): void {
    this.#areKeysSuspended = true
    this.#exec(operation, "pragma foreign_keys = off")
  }

  /** If this cannot be, the connection counts as altered, and is opened anew before anybody else gets it. */
  resumeForeignKeys(): void {
    if (!this.#areKeysSuspended || this.#database.isTransaction) return
    try {
      this.#own(`pragma foreign_keys = ${this.#foreignKeys}`)
      this.#areKeysSuspended = false
    } catch {
      // It stays suspended, which `isAltered` tells.
    }
  }

  /** Has foreign keys checked when the transaction that is open is committed. */
  deferForeignKeys(operation: string): void {
    this.#exec(operation, "pragma defer_foreign_keys = on")
  }

  /** Ends the transaction, if there is one. SQLite may have ended it by itself, so it is asked. */
  rollback(operation: string): void {
    this.restrict(operation, undefined)
    if (!this.isTransaction(operation)) return
    this.#exec(operation, "rollback")
    if (this.#database.isTransaction) throw refused(operation, `${operation}: the transaction does not end`)
  }

  /**
   * Copies the database to a file, some pages at a time in another thread. What `onProgress` throws ends it. Until it has
   * ended, nothing else may be done here. Throws, and rejects with, what Node does.
   */
  backup(target: string, pagesAtATime: number, onProgress: (progress: BackupProgress) => void): Promise<number> {
    return backup(this.#database, target, { rate: pagesAtATime, progress: onProgress })
  }

  /** Extends SQLite on this connection. Throws a `SqlError` that says why not. */
  loadExtension(operation: string, path: string): void {
    if (!this.#isOpen) throw closed(operation)
    try {
      loadExtensions(this.#database, [path])
    } catch (thrown) {
      throw this.#failure(thrown, operation, path)
    }
  }

  #own(sql: string): void {
    this.#authorizer.for(undefined, () => this.#database.exec(sql))
  }

  #ask(sql: string): ReadonlyArray<ReadonlyArray<unknown>> {
    return this.#authorizer.for(
      undefined,
      () => this.#database.prepare(sql, { returnArrays: true }).all() as unknown as Array<Array<unknown>>
    )
  }

  #newStatements(): Statements {
    this.#authorizer.subject = this.#running
    const owner: Owner = { admit: this.#admit, isTrigger: (name) => this.#isTrigger(name) }
    return new Statements(this.#authorizer, owner, this.settings.statementCacheSize)
  }

  #isTrigger(name: string): boolean {
    const schemas = this.#ask("select name from pragma_database_list")
    return schemas.some(([schema]) =>
      this.#ask(`select name from ${quoteName(String(schema))}.sqlite_schema where type = 'trigger'`)
        .some(([trigger]) => String(trigger).toLowerCase() === name.toLowerCase())
    )
  }

  #circumstances(isAlone: boolean): Circumstances {
    return {
      settings: this.settings,
      isAlone,
      isTransaction: this.#database.isTransaction,
      foreignKeys: this.#foreignKeys,
      lasting: this.#keeps ? this.settings.lasting : undefined,
      baseline: this.#baseline
    }
  }

  /** Remembers what these have changed, where it lasts. */
  #done(demands: ReadonlyArray<Demand>): void {
    const { lasting } = this.settings
    if (lasting === undefined || !this.#keeps || this.#isOpening) return
    let isAboutNames = false
    for (const demand of demands) {
      if (demand.kind === "pragma") lasting.set(demand)
      else if (demand.kind !== "recall") isAboutNames = true
    }
    if (isAboutNames) {
      const { databases, temporary } = this.#session()
      lasting.attach(databases, temporary.size > 0)
    }
  }

  #track({ name, value }: Pragma): void {
    if (name === "foreign_keys") this.#foreignKeys = truthOf(value)
  }

  /** What is there besides the database. */
  #session(): Session {
    const databases = this.#ask("select name, file from pragma_database_list where name not in ('main', 'temp')")
    const temporary = this.#ask("select name, type from sqlite_temp_schema")
    return {
      databases: new Map(databases.map(([name, file]) => [String(name), String(file ?? "")])),
      temporary: new Map(temporary.map(([name, type]) => [String(name), String(type)]))
    }
  }

  #set(pragma: Pragma): void {
    this.#own(spell(pragma))
    this.#track(pragma)
  }

  /** Makes the settings and has a look at the file. Throws what Node throws, but a `SqlError` if a setting is not taken. */
  configure(): void {
    const { autoVacuum, isReadOnly, journalMode, pageSize } = this.settings
    if (!isReadOnly) {
      // Of effect as long as the file is empty, which the journal mode ends.
      if (pageSize !== undefined) this.#own(`pragma page_size = ${pageSize}`)
      if (autoVacuum !== undefined) this.#own(`pragma auto_vacuum = ${autoVacuum}`)
      if (journalMode !== undefined) this.#setJournalMode(journalMode)
    }
    this.configureSession()
    // A file that is no database, or a locked one, shows here if it has not before; a damaged schema only in the second.
    this.#own("pragma schema_version; select 1 from sqlite_schema limit 1")
    this.#isReady = true
  }

  /** Makes those settings that belong to the connection alone. */
  configureSession(): void {
    this.#own(sessionPragmas(this.settings))
    this.#foreignKeys = this.settings.foreignKeys
    this.#areKeysSuspended = false
    this.#isAltered = false
  }

  /** From now on, what is set is how the connection is to be whenever it is lent. */
  beginOpening(): void {
    this.#baseline.clear()
    this.#isOpening = true
  }

  /** Throws what Node throws if what lasts cannot be done here, and a `SqlError` if a transaction was left open. */
  endOpening(): void {
    this.#isOpening = false
    this.closeCursors()
    if (this.#database.isTransaction) throw refused("open", "onOpen left a transaction open: end it there")
    if (this.settings.lasting !== undefined) this.#repeat(this.settings.lasting)
    this.#isAltered = false
    if (this.settings.isMemory && !this.#keeps) this.#kept = this.#session()
  }

  /** Does what statements did on other connections, and is to last. */
  #repeat({ attached, pragmas }: Lasting): void {
    if (attached !== undefined) {
      const { databases } = this.#session()
      for (const name of databases.keys()) if (!attached.has(name)) this.#own(`detach ${quoteName(name)}`)
      for (const [name, file] of attached) {
        if (!databases.has(name)) this.#own(`attach '${file.replaceAll("'", "''")}' as ${quoteName(name)}`)
      }
    }
    for (const pragma of pragmas.values()) this.#set(pragma)
  }

  /** Undoes what an earlier user has changed, without opening anew: in memory, all would be gone with the connection. */
  undo(): void {
    this.configureSession()
    for (const pragma of this.#baseline.values()) this.#set(pragma)
    const { databases, temporary } = this.#session()
    for (const name of databases.keys()) if (!this.#kept.databases.has(name)) this.#own(`detach ${quoteName(name)}`)
    for (const [name, type] of temporary) {
      // An index goes with its table, and the tables that a virtual one consists of with that one.
      if (type === "index" || this.#kept.temporary.has(name)) continue
      this.#own(`drop ${type} if exists temp.${quoteName(name)}`)
    }
    this.#isAltered = false
  }

  /** Closes the file and opens it anew, as nobody has used it yet. Throws what Node throws. */
  reopen(): void {
    this.#isReady = false
    this.#database.close()
    this.#isOpen = false
    this.#database = openDatabase(this.settings)
    this.#isOpen = true
    this.#isAltered = false
    this.#areKeysSuspended = false
    this.#authorizer = new Authorizer(this.#database)
    this.#statements = this.#newStatements()
  }

  /** Closes the file, and ends what is open. Once is enough, and more does no harm. */
  close(): void {
    if (!this.#isOpen) return
    this.closeCursors(closed("stream"))
    this.#isOpen = false
    const { isMemory, isReadOnly } = this.settings
    if (this.#isReady && !this.#isBroken && !isReadOnly && !isMemory) this.#optimize()
    this.#database.close()
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

  /** Where it can only read, SQLite would begin a transaction that reads, and not say that it is no other. */
  #refuseLock(operation: string, sql: string): void {
    if (this.settings.isReadOnly) throw this.#refusal(operation, sql)
  }

  /** What a statement that writes is told by a connection that only reads, now or always. */
  #refusal(operation: string, sql: string, thrown?: unknown): SqlError {
    return refusedWrite(operation, sql, this.#restriction ?? this.settings.refusal ?? Refusal.ofConnection, thrown)
  }

  /** Runs what is the connection's own business. */
  #exec(operation: string, sql: string): void {
    try {
      this.#own(sql)
    } catch (thrown) {
      throw this.#failure(thrown, operation, sql)
    }
  }

  #failureOf(thrown: unknown, operation: string, sql: string): SqlError {
    return Predicate.hasProperty(thrown, "code") && thrown.code === "ERR_OUT_OF_RANGE"
      ? tooBig(thrown, operation)
      : this.#failure(thrown, operation, sql)
  }

  #failure(thrown: unknown, operation: string, sql: string): SqlError {
    if (isSqlError(thrown)) return thrown
    const code = codeOfThrown(thrown)
    if (code === READONLY && (this.settings.isReadOnly || this.#restriction !== undefined)) {
      return this.#refusal(operation, sql, thrown)
    }
    // What is only in memory would be lost with the connection.
    if (code !== undefined && doubtful.has(primaryOf(code)) && !this.settings.isMemory) this.#isBroken = true
    return fromSqlite(thrown, operation)
  }

  #rowid(said: number | bigint, bigInts: boolean): number | bigint {
    if (typeof said === "bigint") return bigInts ? said : exactly(said)
    if (Number.isSafeInteger(said)) return bigInts ? BigInt(said) : said
    // Rounded.
    const options = { readBigInts: true, returnArrays: true }
    const [row] = this.#authorizer.for(
      undefined,
      () => this.#database.prepare("select last_insert_rowid()", options).all() as unknown as [[bigint]]
    )
    return row[0]
  }

  #setJournalMode(wanted: string): void {
    const mode = this.#ask(`pragma journal_mode = ${wanted}`)[0]?.[0]
    if (mode === wanted) return
    throw refused(
      "open",
      `cannot open ${nameOf(this.settings)}: the journal mode stays "${mode}", wanted is "${wanted}"`
    )
  }

  /** Has SQLite renew its statistics where they are out of date. If it cannot, because of a lock, somebody else will. */
  #optimize(): void {
    try {
      if (this.#database.isTransaction) this.#own("rollback")
      this.#own("pragma optimize")
    } catch {
      // The file stays as it was.
    }
  }
}

/** The codes of failures after which a connection cannot be trusted: NOMEM and IOERR. */
const doubtful: ReadonlySet<number> = new Set([7, 10])

/** What a connection has besides its database: attached ones with their files, and temporary tables with their types. */
interface Session {
  readonly databases: ReadonlyMap<string, string>
  readonly temporary: ReadonlyMap<string, string>
}

const nothing: Session = { databases: new Map(), temporary: new Map() }

const openDatabase = ({ extensions, filename, isReadOnly, onOpen }: Settings): DatabaseSync => {
  const allowExtension = extensions !== undefined || onOpen !== undefined
  const database = new DatabaseSync(filename, { readOnly: isReadOnly, timeout: 0, allowExtension })
  if (!allowExtension) return database
  try {
    loadExtensions(database, extensions ?? [])
  } catch (thrown) {
    database.close()
    throw thrown
  }
  return database
}

/** Nothing but this may load any: it is not allowed to SQL. */
const loadExtensions = (database: DatabaseSync, paths: Iterable<string>): void => {
  try {
    database.enableLoadExtension(true)
    for (const path of paths) database.loadExtension(path)
  } finally {
    database.enableLoadExtension(false)
  }
}

const sessionPragmas = (settings: Settings): string => {
  const own = [
    `cache_size = -${settings.cacheSize}`,
    `temp_store = ${settings.tempStore}`,
    `trusted_schema = ${settings.trustedSchema}`,
    "busy_timeout = 0",
    "query_only = off"
  ]
  const writing = [
    `synchronous = ${settings.synchronous}`,
    `foreign_keys = ${settings.foreignKeys}`,
    `journal_size_limit = ${settings.journalSizeLimit === Infinity ? -1 : settings.journalSizeLimit}`,
    `wal_autocheckpoint = ${settings.walAutocheckpoint}`
  ]
  return (settings.isReadOnly ? own : writing.concat(own)).map((pragma) => `pragma ${pragma};`).join("\n")
}

const tooBig = (thrown: unknown, operation: string): SqlError =>
  fromSqliteSaying(
    thrown,
    operation,
    `${sqliteMessage(thrown)}. With SafeIntegers from effect/sql/SqlClient, integers are bigints.`
  )
