/**
 * The session of a connection: its settings, as it was opened and as statements change them.
 *
 * What a lease changes is undone when the lease ends. Where an application relies on there being one connection (`Lasting`),
 * it lasts instead, on the connection that writes.
 */
import type { SqlError } from "effect/sql/SqlError"
import { denied, failed } from "../errors.ts"
import { nameOf, type Settings } from "../options/connection.ts"
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
import type { Lasting } from "../sql/lasting.ts"
import type { Besides, Database } from "./database.ts"
import type { Owner } from "./preparedStatements.ts"

export class Session {
  readonly #settings: Settings
  readonly #readOnlyRefusal: (operation: string, sql: string) => SqlError
  #database: Database
  #isAltered = false
  /** Whether foreign keys are enforced now. */
  #foreignKeys: boolean
  /** Whether foreign keys are off for one transaction. */
  #areKeysSuspended = false
  /** Whether a change that is made now belongs to the connection as it is opened: `onOpen` runs. */
  #isOpening = false
  /** Whether what statements change lasts on this connection. */
  readonly #lasts: boolean
  /** Pragmas that `onOpen` has set, by `keyOf`. */
  readonly #baseline = new Map<string, Pragma>()
  /** The databases and temporary tables that `onOpen` has made. */
  #opened: Besides = nothing
  /** A script that sets all pragmas as `onOpen` has left them. */
  #original = ""

  /** Hears what SQLite compiles while statements run: statements that it compiles again, and those of its own. */
  readonly running: Subject = {
    demanded: ({ kind }) => {
      // SQLite finds anew which table a name means. A database that is attached is that of a `vacuum`.
      if (kind === "temporary" && !this.#lasts) this.#isAltered = true
    }
  }

  /** Throws if a statement may not make a demand, and remembers what it changes. */
  readonly admit: Owner["admit"] = (demand, operation, sql, isAlone) => {
    // Only the connection that writes remembers that. Where statements expect one connection, they mean the writer.
    if (demand.kind === "recall" && this.#settings.lasting !== undefined && !this.#lasts) {
      throw this.#readOnlyRefusal(operation, sql)
    }
    const at = this.#circumstances(isAlone)
    const refusal = refusalOf(demand, at)
    if (refusal !== undefined) throw denied(operation, sql, refusal)
    if (!this.#lasts && alters(demand, at)) this.#isAltered = true
    if (demand.kind !== "pragma" || demand.value === null || at.isTransaction && demand.name === "foreign_keys") return
    this.#track(demand)
    if (this.#isOpening && isSetting(demand)) this.#baseline.set(keyOf(demand), demand)
  }

  constructor(
    settings: Settings,
    database: Database,
    readOnlyRefusal: (operation: string, sql: string) => SqlError
  ) {
    this.#settings = settings
    this.#database = database
    this.#readOnlyRefusal = readOnlyRefusal
    this.#foreignKeys = settings.foreignKeys
    this.#lasts = settings.lasting !== undefined && settings.lasting.isReadOnly === settings.isReadOnly
  }

  /** Whether a lease has changed a setting, attached a database or made a temporary table. */
  get isAltered(): boolean {
    return this.#isAltered || this.#areKeysSuspended
  }

  /** Begins again on a database that was opened anew. */
  restart(database: Database): void {
    this.#database = database
    this.#isAltered = false
    this.#areKeysSuspended = false
  }

  /** Remembers what statements have changed, where it lasts. */
  done(demands: ReadonlyArray<Demand>): void {
    const { lasting } = this.#settings
    if (lasting === undefined || !this.#lasts || this.#isOpening) return
    let isAboutNames = false
    for (const demand of demands) {
      if (demand.kind === "pragma") lasting.set(demand)
      else if (demand.kind !== "recall") isAboutNames = true
    }
    if (isAboutNames) {
      const { databases, temporary } = this.#database.besides()
      lasting.attach(databases, temporary.size > 0)
    }
  }

  /** Makes the settings, and reads the file. Throws what Node throws, but a `SqlError` if a setting is not taken. */
  configure(): void {
    const { autoVacuum, isReadOnly, journalMode, pageSize } = this.#settings
    if (!isReadOnly) {
      // These two have an effect while the file is empty, which the journal mode ends.
      if (pageSize !== undefined) this.#database.own(`pragma page_size = ${pageSize}`)
      if (autoVacuum !== undefined) this.#database.own(`pragma auto_vacuum = ${autoVacuum}`)
      if (journalMode !== undefined) this.#setJournalMode(journalMode)
    }
    this.#configureConnection()
    // A file that is no database, or a locked one, shows here if it has not before; a damaged schema only in the second.
    this.#database.own("pragma schema_version; select 1 from sqlite_schema limit 1")
  }

  /** From now on, a change belongs to the connection as it is opened. */
  beginOpening(): void {
    this.#baseline.clear()
    this.#isOpening = true
  }

  /** From now on, a change is that of a lease. Throws what Node throws if what lasts cannot be done here. */
  endOpening(): void {
    this.#isOpening = false
    if (this.#settings.lasting !== undefined) this.#repeat(this.#settings.lasting)
    this.#isAltered = false
    if (!this.#settings.isMemory || this.#lasts) return
    this.#opened = this.#database.besides()
    const schemas = ["main", "temp", ...this.#opened.databases.keys()]
    this.#original = pragmasSet(this.#database, schemas)
  }

  /** Undoes what a lease has changed, without opening anew: a database in memory would be gone with its connection. */
  undo(): void {
    this.#database.own(this.#original)
    this.#configureConnection()
    for (const pragma of this.#baseline.values()) this.#set(pragma)
    const { databases, temporary } = this.#database.besides()
    for (const name of databases.keys()) {
      if (!this.#opened.databases.has(name)) this.#database.own(`detach ${quoteName(name)}`)
    }
    for (const [name, type] of temporary) {
      // An index goes with its table, and the tables that a virtual table consists of go with that one.
      if (type === "index" || this.#opened.temporary.has(name)) continue
      this.#database.own(`drop ${type} if exists temp.${quoteName(name)}`)
    }
    this.#isAltered = false
  }

  /** Turns foreign keys off until they are resumed. SQLite ignores that within a transaction. */
  suspendForeignKeys(): void {
    this.#areKeysSuspended = true
    this.#database.own("pragma foreign_keys = off")
  }

  /** Turns foreign keys on again. If that fails, the connection counts as altered, and is opened anew before it is lent. */
  resumeForeignKeys(): void {
    if (!this.#areKeysSuspended || this.#database.sqlite.isTransaction) return
    try {
      this.#database.own(`pragma foreign_keys = ${this.#foreignKeys}`)
      this.#areKeysSuspended = false
    } catch {
      // They stay suspended, which `isAltered` tells.
    }
  }

  /** Makes the settings that belong to the connection, and not to the file. */
  #configureConnection(): void {
    this.#database.own(connectionPragmas(this.#settings))
    this.#foreignKeys = this.#settings.foreignKeys
    this.#areKeysSuspended = false
    this.#isAltered = false
  }

  /** Does what statements did on other connections, and is to last. */
  #repeat({ attached, pragmas }: Lasting): void {
    if (attached !== undefined) {
      const { databases } = this.#database.besides()
      for (const name of databases.keys()) {
        if (!attached.has(name)) this.#database.own(`detach ${quoteName(name)}`)
      }
      for (const [name, file] of attached) {
        if (!databases.has(name)) this.#database.own(`attach '${file.replaceAll("'", "''")}' as ${quoteName(name)}`)
      }
    }
    for (const pragma of pragmas.values()) this.#set(pragma)
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
      lasting: this.#lasts ? this.#settings.lasting : undefined,
      baseline: this.#baseline,
      isOpening: this.#isOpening,
      opened: this.#opened
    }
  }

  #setJournalMode(wanted: string): void {
    const mode = this.#database.ask(`pragma journal_mode = ${wanted}`)[0]?.[0]
    if (mode === wanted) return
    throw failed(
      "open",
      `cannot open ${nameOf(this.#settings)}: the journal mode stays "${mode}", wanted is "${wanted}"`
    )
  }
}

const nothing: Besides = { databases: new Map(), temporary: new Map() }

/**
 * A script that gives pragmas the values that they have now.
 *
 * SQLite knows no way to ask whether `like` tells cases apart. Where `onOpen` has set that, it is set again after this.
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
  // Without a name it is that of databases that are attached later, too.
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
