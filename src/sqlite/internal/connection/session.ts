/**
 * The session of a connection: its settings when it was opened, and the changes that statements make.
 *
 * The changes of a lease are undone when the lease ends. For an application that expects one connection (`Lasting`),
 * the changes of the writer last.
 */
import { denied, failed, type Failure } from "../failures.ts"
import type { Settings } from "../options/connection.ts"
import { nameOf } from "../options/nameOf.ts"
import type { Subject } from "../sql/authorizer.ts"
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
import { type LastingData, pragmasFor } from "../sql/lasting.ts"
import { Bulk } from "./bulk.ts"
import type { Besides, Database } from "./database.ts"
import type { Owner } from "./preparedStatements.ts"
import type { Units } from "./units.ts"

export class Session {
  /** The settings for a transaction that changes many rows. */
  readonly bulk: Bulk
  readonly #settings: Settings
  readonly #units: Units
  readonly #readOnlyRefusal: (operation: string, sql: string) => Failure
  #database: Database
  #isAltered = false
  /** Whether foreign keys are enforced now. */
  #foreignKeys: boolean
  /** The journal mode of the main database now, if it is known. */
  #journalMode: string | undefined
  /** Whether foreign keys are off for one transaction. */
  #areKeysSuspended = false
  /** Whether `onOpen` runs, so that changes belong to the connection. */
  #isOpening = false
  /** Whether the changes of statements last on this connection. */
  readonly #lasts: boolean
  /** Pragmas that `onOpen` has set, by `keyOf`. */
  readonly #baseline = new Map<string, Pragma>()
  /** The databases that `onOpen` has attached, and the temporary tables that it has made. */
  #opened: Besides = nothing
  /** A script that sets all pragmas to the values that they had after `onOpen`. */
  #original = ""

  /** Gets the demands of statements that SQLite compiles while another statement runs: again, or for its own use. */
  readonly running: Subject = {
    demanded: ({ kind }) => {
      // A statement that is compiled again may now mean a temporary table. An attached database here is one of
      // `vacuum`.
      if (kind === "temporary" && !this.#lasts) this.#isAltered = true
    }
  }

  /** Throws if a statement may not make a demand. Remembers what the statement changes. */
  readonly admit: Owner["admit"] = (demand, operation, sql, isAlone) => {
    this.#units.admitDemand(demand, operation, sql)
    // Only the writer knows its last rowid and changes. A statement that expects one connection asks about the writer.
    if (demand.kind === "recall" && this.#settings.lasting !== undefined && !this.#lasts) {
      throw this.#readOnlyRefusal(operation, sql)
    }
    if (this.#settings.isReadOnly && writesToFile(demand, this.#journalMode)) {
      throw this.#readOnlyRefusal(operation, sql)
    }
    const at = this.#circumstances(isAlone)
    const refusal = refusalOf(demand, at)
    if (refusal !== undefined) throw denied(operation, sql, refusal)
    if (!this.#lasts && alters(demand, at)) this.#isAltered = true
    if (demand.kind === "pragma" && demand.name === "defer_foreign_keys") this.#units.deferAllKeys()
    if (demand.kind !== "pragma" || demand.value === null || at.isTransaction && demand.name === "foreign_keys") return
    this.#track(demand)
    if (this.#isOpening && isSetting(demand)) this.#baseline.set(keyOf(demand), demand)
  }

  constructor(
    settings: Settings,
    database: Database,
    units: Units,
    readOnlyRefusal: (operation: string, sql: string) => Failure
  ) {
    this.#settings = settings
    this.#database = database
    this.#units = units
    this.#readOnlyRefusal = readOnlyRefusal
    this.bulk = new Bulk(database)
    this.#foreignKeys = settings.foreignKeys
    this.#lasts = settings.lasting !== undefined && settings.lasting.isReadOnly === settings.isReadOnly
  }

  /** Whether a lease has changed a setting, attached a database or made a temporary table. */
  get isAltered(): boolean {
    return this.#isAltered || this.#areKeysSuspended
  }

  /** Whether something has to be undone before the next lease. */
  get needsReset(): boolean {
    return this.isAltered || this.bulk.isOn
  }

  /** Something that cannot be known was changed, so that the connection has to be reset. */
  alter(): void {
    this.#isAltered = true
  }

  /** Starts again with a database that was opened again. */
  restart(database: Database): void {
    this.#database = database
    this.bulk.restart(database)
    this.#isAltered = false
    this.#areKeysSuspended = false
  }

  /** Remembers the changes of a statement, if they last. */
  done(demands: ReadonlyArray<Demand>): void {
    if (demands.some(setsJournalMode)) this.#journalMode = this.#askJournalMode()
    const { lasting } = this.#settings
    if (lasting === undefined || !this.#lasts || this.#isOpening) return
    let isAboutNames = false
    for (const demand of demands) {
      if (demand.kind === "pragma") lasting.set(demand)
      else if (demand.kind !== "recall") isAboutNames = true
      if (demand.kind === "detach" && demand.name !== null) lasting.detach(demand.name)
    }
    if (isAboutNames) {
      const { databases, temporary } = this.#database.besides()
      lasting.attach(databases, temporary.size > 0)
    }
  }

  /** Sets the pragmas of the settings, and reads the file. Throws a `Failure` if SQLite keeps another journal mode. */
  configure(): void {
    const { autoVacuum, isReadOnly, journalMode, pageSize } = this.#settings
    if (!isReadOnly) {
      // These two have an effect only on an empty file, and setting the journal mode writes to it.
      if (pageSize !== undefined) this.#database.own(`pragma page_size = ${pageSize}`)
      if (autoVacuum !== undefined) this.#database.own(`pragma auto_vacuum = ${autoVacuum}`)
      if (journalMode !== undefined) this.#setJournalMode(journalMode)
    }
    this.#configureConnection()
    // Fails if the file is no database, or is locked. The second statement also fails if the schema is damaged.
    this.#database.own("pragma schema_version; select 1 from sqlite_schema limit 1")
    this.#journalMode = this.#settings.isMemory ? "memory" : journalMode ?? this.#askJournalMode()
  }

  /** `onOpen` begins: from now on, changes belong to the connection. */
  beginOpening(): void {
    this.#baseline.clear()
    this.#isOpening = true
  }

  /** `onOpen` has ended: from now on, changes belong to a lease. Throws if a lasting change cannot be made here. */
  endOpening(): void {
    this.#isOpening = false
    if (this.#settings.lasting !== undefined) this.#repeat(this.#settings.lasting)
    this.#isAltered = false
    if (!this.#settings.isMemory || this.#lasts) return
    this.#opened = this.#database.besides()
    const schemas = ["main", "temp", ...this.#opened.databases.keys()]
    this.#original = pragmasSet(this.#database, schemas)
  }

  /** Undoes the changes of a lease without opening the database again: a database in memory would be lost. */
  undo(): void {
    this.#database.own(this.#original)
    this.#configureConnection()
    for (const pragma of this.#baseline.values()) this.#set(pragma)
    this.#journalMode = this.#askJournalMode()
    const { databases, temporary } = this.#database.besides()
    for (const name of databases.keys()) {
      if (!this.#opened.databases.has(name)) this.#database.own(`detach ${quoteName(name)}`)
    }
    for (const [name, type] of temporary) {
      // To drop a table drops its indexes, and to drop a virtual table drops the tables behind it.
      if (type === "index" || this.#opened.temporary.has(name)) continue
      this.#database.own(`drop ${type} if exists temp.${quoteName(name)}`)
    }
    this.#isAltered = false
  }

  /** Begins the settings for many rows. Without them the transaction works too. */
  beginBulk(cacheKib: number | undefined): void {
    try {
      this.bulk.begin(cacheKib)
    } catch {
      this.endBulk()
    }
  }

  /** Ends the settings for many rows. If that fails, the connection counts as altered. */
  endBulk(): void {
    try {
      this.bulk.end()
    } catch {
      this.#isAltered = true
    }
  }

  /** Turns foreign keys off until `resumeForeignKeys`. SQLite ignores that within a transaction. */
  suspendForeignKeys(): void {
    this.#areKeysSuspended = true
    this.#database.own("pragma foreign_keys = off")
  }

  /**
   * Turns foreign keys on again. If that fails, the connection counts as altered, and is opened again before it is
   * lent.
   */
  resumeForeignKeys(): void {
    if (!this.#areKeysSuspended || this.#database.sqlite.isTransaction) return
    try {
      this.#database.own(`pragma foreign_keys = ${this.#foreignKeys}`)
      this.#areKeysSuspended = false
    } catch {
      // They stay suspended, and `isAltered` is true.
    }
  }

  /** Sets the pragmas that belong to the connection, and not to the file. */
  #configureConnection(): void {
    this.#database.own(connectionPragmas(this.#settings))
    this.#foreignKeys = this.#settings.foreignKeys
    this.#areKeysSuspended = false
    this.#isAltered = false
  }

  /** Makes the lasting changes that statements made on other connections. */
  #repeat(lasting: LastingData): void {
    const { attached } = lasting
    if (attached !== undefined) {
      const { databases } = this.#database.besides()
      for (const name of databases.keys()) {
        if (!attached.has(name)) this.#database.own(`detach ${quoteName(name)}`)
      }
      for (const [name, file] of attached) {
        if (!databases.has(name)) this.#database.own(`attach '${file.replaceAll("'", "''")}' as ${quoteName(name)}`)
      }
    }
    // Databases in memory, and those that `onOpen` attaches to some connections only, are not here.
    const pragmas = lasting.pragmas.size === 0 ? [] : pragmasFor(lasting, this.#database.besides().databases)
    for (const pragma of pragmas) this.#set(pragma)
    if (pragmas.length > 0) this.#journalMode = this.#askJournalMode()
  }

  #set(pragma: Pragma): void {
    this.#database.own(spell(pragma))
    this.#track(pragma)
  }

  #track({ name, value }: Pragma): void {
    if (name === "foreign_keys") this.#foreignKeys = truthOf(value)
  }

  #circumstances(isAlone: boolean): Circumstances {
    return {
      settings: this.#settings,
      isAlone,
      isTransaction: this.#database.sqlite.isTransaction,
      foreignKeys: this.#foreignKeys,
      journalMode: this.#journalMode,
      lasting: this.#lasts ? this.#settings.lasting : undefined,
      baseline: this.#baseline,
      isOpening: this.#isOpening,
      opened: this.#opened
    }
  }

  /** The journal mode; `undefined` if it cannot be read now. */
  #askJournalMode(): string | undefined {
    try {
      return String(this.#database.ask("pragma journal_mode")[0]?.[0])
    } catch {
      return undefined
    }
  }

  #setJournalMode(wanted: string): void {
    const mode = this.#database.ask(`pragma journal_mode = ${wanted}`)[0]?.[0]
    if (mode === wanted) return
    throw failed(
      "open",
      `cannot open ${nameOf(this.#settings)}: the journal mode stays "${mode}", but must be "${wanted}"`
    )
  }
}

const setsJournalMode = (demand: Demand): boolean =>
  demand.kind === "pragma" && demand.name === "journal_mode" && demand.value !== null

/** Whether a pragma writes to the file, although SQLite does not refuse it as a write on a connection that only reads. */
const writesToFile = (demand: Demand, journalMode: string | undefined): boolean =>
  demand.kind === "pragma" &&
  (demand.name === "wal_checkpoint" || setsJournalMode(demand) && demand.value?.toLowerCase() !== journalMode)

const nothing: Besides = { databases: new Map(), temporary: new Map() }

/**
 * A script that gives pragmas the values that they have now.
 *
 * SQLite cannot be asked for `case_sensitive_like`. If `onOpen` has set it, it is set again after this script.
 */
const pragmasSet = (database: Database, schemas: ReadonlyArray<string>): string => {
  const pragmas = [
    ...pragmasOfConnection,
    ...schemas.flatMap((schema) => pragmasOfSchema.map((pragma) => `${quoteName(schema)}.${pragma}`))
  ]
  const set = pragmas.flatMap((pragma) => {
    const value = database.ask(`pragma ${pragma}`)[0]?.[0]
    return value === undefined ? [] : [`pragma ${pragma} = ${String(value)};`]
  })
  return ["pragma case_sensitive_like = off;", ...set].join("\n")
}

const pragmasOfConnection = [
  "analysis_limit",
  "automatic_index",
  "cell_size_check",
  "checkpoint_fullfsync",
  "count_changes",
  "defer_foreign_keys",
  "empty_result_callbacks",
  "full_column_names",
  "fullfsync",
  "ignore_check_constraints",
  "legacy_alter_table",
  // Without the name of a database, it also holds for databases that are attached later.
  "locking_mode",
  "read_uncommitted",
  "recursive_triggers",
  "reverse_unordered_selects",
  "short_column_names",
  "temp_store",
  "threads"
]

const pragmasOfSchema = [
  "cache_size",
  "cache_spill",
  "journal_mode",
  "journal_size_limit",
  "locking_mode",
  "max_page_count",
  "mmap_size",
  "secure_delete",
  "synchronous"
]

const connectionPragmas = (settings: Settings): string => {
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
