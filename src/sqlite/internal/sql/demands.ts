/** Demands: what a statement wants from its connection besides rows, and when a demand is refused. */

export type Demand = Pragma | Recall | Attach | Detach | Temporary

/** A statement detaches a database. */
export interface Detach {
  readonly kind: "detach"
  /** The name of the database; `null` if it is a parameter. */
  readonly name: string | null
}

/** A statement makes, changes or drops a temporary table, view, trigger or index. */
export interface Temporary {
  readonly kind: "temporary"
  /** The name, if it is changed or dropped. */
  readonly gone?: string
}

/** A statement attaches a database. */
export interface Attach {
  readonly kind: "attach"
  /** The file; `null` if it is a parameter. */
  readonly file: string | null
}

/** A statement reads or sets a pragma. */
export interface Pragma {
  readonly kind: "pragma"
  /** The name in lower case. */
  readonly name: string
  /** The value that is set; `null` if it has none. */
  readonly value: string | null
  readonly schema: string | null
}

/** A statement calls a function that returns what the connection did before. */
export interface Recall {
  readonly kind: "recall"
  readonly name: string
  /** The trigger, view or common table expression that calls it, if it is not the statement itself. */
  readonly source: string | null
}

/** The settings of a connection that pragmas can set too. */
export interface PragmaSettings {
  readonly isMemory: boolean
  readonly foreignKeys: boolean
  readonly trustedSchema: boolean
  readonly synchronous: string
  readonly journalMode?: string | undefined
  readonly tempStore: string
  /** In KiB. */
  readonly cacheSize: number
  /** In bytes; `Infinity` for no limit. */
  readonly journalSizeLimit: number
  /** In pages. */
  readonly walAutocheckpoint: number
}

/** The database of a client whose statements expect one connection. */
export interface Imitated {
  /** Whether the database is only read, by several equal connections. */
  readonly isReadOnly: boolean
  /** Whether the pool has only one connection. */
  readonly isOneConnection: boolean
}

/** The circumstances that decide whether a demand can have its effect. */
export interface Circumstances {
  readonly settings: PragmaSettings
  /** Whether the lease is for this statement only, so that its effect on the connection ends with it. */
  readonly isAlone: boolean
  /** Whether a transaction is open on the connection. */
  readonly isTransaction: boolean
  /** Whether foreign keys are enforced now. */
  readonly foreignKeys: boolean
  /** The journal mode of the main database now, if it is known. */
  readonly journalMode: string | undefined
  /** Set if the changes of statements last on this connection. */
  readonly lasting: Imitated | undefined
  /** The pragmas that `onOpen` has set, by `keyOf`. */
  readonly baseline: ReadonlyMap<string, Pragma>
  /** Whether `onOpen` runs. */
  readonly isOpening: boolean
  /** What `onOpen` has attached and made, for a database in memory, where it does not run again. */
  readonly opened: Opened
}

/** Attached databases and temporary tables, by their names. */
export interface Opened {
  readonly databases: ReadonlyMap<string, string>
  readonly temporary: ReadonlyMap<string, string>
}

/** Whether a pragma sets something on its connection, and not in the file. */
export const isSetting = ({ name, value }: Pragma): boolean => value !== null && !pragmasOfFile.has(name)

/** Whether the statement changes its connection, so that the connection has to be reset. */
export const alters = (demand: Demand, at: Circumstances): boolean => {
  switch (demand.kind) {
    case "attach":
    case "detach":
    case "temporary":
      return true
    case "recall":
      return false
    case "pragma":
      // SQLite ends this setting with the transaction.
      if (demand.name === "defer_foreign_keys" && at.isTransaction) return false
      return isSetting(demand)
  }
}

/** Why a demand is refused, and what to do instead; `undefined` if it is allowed. */
export const refusalOf = (demand: Demand, at: Circumstances): string | undefined => {
  if (demand.kind === "pragma" && demand.value !== null) {
    const ignored = ignoredBecause(demand, at)
    if (ignored !== undefined) return ignored
  }
  if (at.lasting !== undefined) return refusalWhereItLasts(demand, at, at.lasting)
  if (demand.kind === "pragma" && demand.value !== null && !at.isOpening && pragmasOfProcess.has(demand.name)) {
    return "it holds for the whole process and for every database in it, so it would outlast this caller: " +
      "set it in onOpen, where it holds from then on"
  }
  const opened = openedOf(demand, at.opened)
  if (opened !== undefined) {
    return `onOpen made ${opened}, and no later lease would have it: onOpen does not run again for a database in memory`
  }
  return at.isAlone ? refusalAlone(demand, at) : undefined
}

/** The thing that `onOpen` has made and that the statement would remove, if there is one. */
const openedOf = (demand: Demand, { databases, temporary }: Opened): string | undefined => {
  if (demand.kind === "temporary") {
    return demand.gone === undefined ? undefined : nameAmong(temporary.keys(), demand.gone)
  }
  if (demand.kind !== "detach") return undefined
  // The name may be a parameter, whose value is not known in time.
  if (demand.name !== null) return nameAmong(databases.keys(), demand.name)
  return databases.size === 0 ? undefined : [...databases.keys()].map(quoteName).join(" or ")
}

/** The name among others, as they write it. Case does not count in SQLite. */
const nameAmong = (names: Iterable<string>, name: string): string | undefined => {
  for (const known of names) if (known.toLowerCase() === name.toLowerCase()) return quoteName(known)
  return undefined
}

/** Why SQLite would accept a pragma without an error and do nothing, if it would. */
const ignoredBecause = (pragma: Pragma, at: Circumstances): string | undefined => {
  const { name, value } = pragma
  switch (name) {
    case "journal_mode":
      return at.isTransaction && changesJournalMode(pragma, at) ? journalModeInTransaction : undefined
    case "foreign_keys":
      if (!at.isTransaction || truthOf(value) === at.foreignKeys) return undefined
      return "SQLite ignores this pragma inside a transaction: " +
        "use transaction(effect, { foreignKeys: \"off\" }), which is not inside another, or write, or the option foreignKeys"
    case "schema_version":
      return defensive
    case "writable_schema":
      // The value `reset` is allowed: it only reads the schema again.
      return truthOf(value) ? defensive : undefined
    default:
      return undefined
  }
}

/** Whether a pragma asks for another journal mode. SQLite takes the first mode that begins with the text, else it asks. */
const changesJournalMode = (pragma: Pragma, { journalMode }: Circumstances): boolean => {
  const wanted = journalModes.find((mode) => mode.startsWith(pragma.value!.toLowerCase()))
  return wanted !== undefined && (keyOf(pragma) !== "journal_mode" || wanted !== journalMode)
}

/** In the order of SQLite. */
const journalModes = ["delete", "persist", "off", "truncate", "memory", "wal"]

// After a write, SQLite ignores it. Before the first write, it is an error if one of the two modes is `wal`.
const journalModeInTransaction =
  "SQLite does not change the journal mode inside a transaction: run it in write, outside of a transaction, while no reader " +
  "is open, or once the pool is closed, on a connection of its own, from SqliteConnection.open"

const defensive =
  "SQLite ignores this pragma, because the connection is defensive: change the schema with create, alter and drop"

const refusalAlone = (demand: Demand, at: Circumstances): string | undefined => {
  switch (demand.kind) {
    case "attach":
    case "detach":
      return `${gone}: attach in onOpen, for every connection, or use write for as long as one body runs`
    case "temporary":
      return `${gone}: use one write or transaction for all that needs it, or make it in onOpen, on every connection`
    case "recall":
      return `${demand.name}() returns what its own connection did last, which may be the work of another caller: ` +
        "use returning, or run both statements in one transaction or write"
    case "pragma":
      if (!isSetting(demand) || isAsSet(demand, at)) return undefined
      return `${gone}: ${wayFor(demand.name)}`
  }
}

const gone = "each statement of sql has its own connection, so later statements would not see its effect"

const wayFor = (pragma: string): string => {
  switch (pragma) {
    case "foreign_keys":
      return "use transaction(effect, { foreignKeys: \"off\" }) for one transaction, or the option foreignKeys"
    case "defer_foreign_keys":
      return "use it inside a transaction"
    case "journal_mode":
    case "locking_mode":
      return "the pool needs it as it is, for reads beside its writer: once the pool is closed, " +
        "set it on a connection of its own, from SqliteConnection.open"
    case "page_size":
    case "auto_vacuum":
      return `use the option ${optionOf.get(pragma)} for a new file, or one write with this and vacuum`
    default: {
      const option = optionOf.get(pragma)
      return option === undefined
        ? "set it in onOpen, for every connection, or use write for as long as one body runs"
        : `use the option ${option}`
    }
  }
}

/** Why a demand is refused where statements expect one connection, although there are several. */
const refusalWhereItLasts = (demand: Demand, at: Circumstances, lasting: Imitated): string | undefined => {
  if (demand.kind === "temporary" || (demand.kind === "attach" && (demand.file === "" || demand.file === ":memory:"))) {
    if (!lasting.isReadOnly) return undefined
    return "with readonly there are several connections, and only one of them would have it: make it in onOpen, on each"
  }
  if (demand.kind !== "pragma" || !isSetting(demand) || isAsSet(demand, at)) return undefined
  switch (demand.name) {
    case "busy_timeout":
      return "with it SQLite would stop the event loop: run it as a statement of its own, " +
        "pragma busy_timeout = N, or use the option busyTimeout"
    case "journal_mode":
    case "locking_mode":
      if (lasting.isOneConnection) return undefined
      return "it would keep out the connections that read: use the option disableWAL, or a client of its own"
    default:
      return undefined
  }
}

/** Whether a pragma sets the value that every connection has already. */
const isAsSet = (pragma: Pragma, { baseline, settings }: Circumstances): boolean => {
  const set = baseline.get(keyOf(pragma))?.value ?? settingOf(pragma.name, settings)
  return set !== undefined && sameValue(pragma.name, set, pragma.value!)
}

/** The key of the setting that a pragma sets. Without a schema it is a setting of the main database. */
export const keyOf = ({ name, schema }: Pragma): string =>
  schema === null || schema === "main" ? name : `${schema}.${name}`

/** The setting with which a connection was opened, as the value of a pragma. */
const settingOf = (pragma: string, settings: PragmaSettings): string | undefined => {
  switch (pragma) {
    case "foreign_keys":
      return String(settings.foreignKeys)
    case "trusted_schema":
      return String(settings.trustedSchema)
    case "query_only":
      return "off"
    case "synchronous":
      return settings.synchronous
    case "journal_mode":
      return settings.isMemory ? "memory" : settings.journalMode
    case "locking_mode":
      return "normal"
    case "cache_size":
      return `-${settings.cacheSize}`
    case "temp_store":
      return settings.tempStore
    case "journal_size_limit":
      return settings.journalSizeLimit === Infinity ? "-1" : String(settings.journalSizeLimit)
    case "wal_autocheckpoint":
      return String(settings.walAutocheckpoint)
    case "busy_timeout":
      return "0"
    default:
      return undefined
  }
}

const sameValue = (pragma: string, set: string, asked: string): boolean => {
  const [a, b] = [set.toLowerCase(), asked.toLowerCase()]
  if (a === b) return true
  const words = numbers.get(pragma)
  if (words !== undefined) return words.indexOf(a) >= 0 && words.indexOf(a) === Number(b)
  return flags.has(pragma) && truthOf(a) === truthOf(b)
}

/** Words that may also be written as numbers, which are their indexes. */
const numbers: ReadonlyMap<string, ReadonlyArray<string>> = new Map([
  ["synchronous", ["off", "normal", "full", "extra"]],
  ["temp_store", ["default", "file", "memory"]]
])

const flags: ReadonlySet<string> = new Set(["foreign_keys", "trusted_schema", "query_only"])

/** The value of a flag, as SQLite reads it. */
export const truthOf = (value: string | null): boolean =>
  value !== null && (/^\d/.test(value) ? Number.parseInt(value, 10) !== 0 : /^(?:on|yes|true)$/i.test(value))

/** The text that sets a pragma again on another connection. */
export const spell = ({ name, schema, value }: Pragma): string =>
  `pragma ${schema === null ? "" : `${quoteName(schema)}.`}${name} = '${value!.replaceAll("'", "''")}'`

export const quoteName = (name: string): string => `"${name.replaceAll("\"", "\"\"")}"`

/** The options that set the same as a pragma. */
const optionOf: ReadonlyMap<string, string> = new Map([
  ["foreign_keys", "foreignKeys"],
  ["synchronous", "synchronous"],
  ["cache_size", "cacheSize"],
  ["default_cache_size", "cacheSize"],
  ["temp_store", "tempStore"],
  ["page_size", "pageSize"],
  ["auto_vacuum", "autoVacuum"],
  ["trusted_schema", "trustedSchema"],
  ["journal_size_limit", "journalSizeLimit"],
  ["wal_autocheckpoint", "walAutocheckpoint"],
  ["busy_timeout", "busyTimeout"]
])

/** Pragmas that hold for all connections of the process. */
const pragmasOfProcess: ReadonlySet<string> = new Set([
  "data_store_directory",
  "hard_heap_limit",
  "soft_heap_limit",
  "temp_store_directory"
])

/** Pragmas that set nothing on the connection: their argument is a question or a task, or is stored in the file. */
const pragmasOfFile: ReadonlySet<string> = new Set([
  "application_id",
  "foreign_key_check",
  "foreign_key_list",
  "incremental_vacuum",
  "index_info",
  "index_list",
  "index_xinfo",
  "integrity_check",
  "optimize",
  "quick_check",
  "schema_version",
  "table_info",
  "table_list",
  "table_xinfo",
  "user_version",
  "wal_checkpoint"
])
