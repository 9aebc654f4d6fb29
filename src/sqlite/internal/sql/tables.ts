/**
 * The tables that statements read and write, as SQLite names them while it compiles a statement.
 *
 * SQLite names the tables behind views, and those that triggers and foreign keys change. A statement that SQLite compiles
 * again, after a change of the schema, is told here again.
 */
import { constants } from "node:sqlite"

/** A table that was written. */
interface Written {
  /** Its name as in the schema, with the name of its database if that is not the main one. */
  readonly name: string
  /** The key under which a statement reads it whose database SQLite does not name. */
  readonly keyOfAny: string
}

/** The tables of one statement, or of one script. */
export class Tables {
  /** The tables that it reads, by `keyOf`. */
  readonly reads = new Set<string>()
  /** The tables that it writes, by `keyOf`. */
  readonly writes = new Map<string, Written>()
  /** Whether it changes the schema of a database that other connections see. */
  changesSchema = false
  /** Whether it changes the schema of the temporary database, which belongs to one connection. */
  changesTemporarySchema = false
  /** Whether it calls an aggregate of the application: by its text, or by a view or a trigger. */
  callsAggregate = false
  /** Whether it begins or ends transactions or savepoints, and whether it only rolls one back. */
  control: "rollback" | "other" | undefined = undefined
  /**
   * What it reads besides: nothing, the tables of virtual tables, or something unknown. Not set before it was looked up: see
   * `reads.ts`.
   */
  reach: "own" | "virtual" | "unknown" | undefined = undefined
  /** The number of notes. It grows when SQLite compiles the statement again. */
  noted = 0

  get isWriting(): boolean {
    return this.writes.size > 0 || this.changesSchema || this.changesTemporarySchema
  }

  /** Notes an action that SQLite reports. */
  note(action: number, first: string | null, second: string | null, schema: string | null): void {
    this.reach = undefined
    this.noted++
    switch (kinds[action]) {
      case reads:
        this.reads.add(keyOf(first!, schema))
        return
      case writes:
        if (isSchemaTable(first!)) this.#changesSchema(schema)
        else this.#write(first!, schema)
        return
      case changesSchema:
        return this.#changesSchema(action === SQLITE_ALTER_TABLE ? first : schema)
      case analyzes:
        return this.#write("sqlite_stat1", schema)
      case pragma:
        return this.#pragma(lower(first!), second)
      case controls:
        this.control = this.control === undefined && first === "ROLLBACK" && action === SQLITE_TRANSACTION
          ? "rollback"
          : "other"
    }
  }

  #write(table: string, schema: string | null): void {
    const isMain = schema === null || schema === "main"
    this.writes.set(keyOf(table, schema ?? "main"), {
      name: isMain ? table : `${schema}.${table}`,
      keyOfAny: keyOf(table, null)
    })
  }

  #changesSchema(schema: string | null): void {
    if (schema === "temp") this.changesTemporarySchema = true
    else this.changesSchema = true
  }

  /** A pragma is a table too: `select * from pragma_user_version`. */
  #pragma(name: string, value: string | null): void {
    this.reads.add(keyOf(`pragma_${name}`, null))
    if (value !== null && storedPragmas.has(name)) this.#write(`pragma_${name}`, null)
  }
}

/**
 * The key of a table. Without a database, it is the key of a table in any database. SQLite does not always name the
 * database: for `select count(*) from t`, it does not.
 */
export const keyOf = (table: string, schema: string | null): string => {
  const name = lower(table)
  // As a table, a pragma is reported in any database that the statement names, and else in the main one.
  return schema === null || name.startsWith("pragma_") ? `\0${name}` : `${lower(schema)}\0${name}`
}

/** A name in lower case, as SQLite compares names: only the letters of ASCII have a case. */
const lower = (name: string): string =>
  /[A-Z]/.test(name) ? name.replace(/[A-Z]+/g, (part) => part.toLowerCase()) : name

/** The name of the table that a key stands for. */
export const tableOf = (key: string): string => key.slice(key.indexOf("\0") + 1)

/** The tables that a query reads. */
export interface Reads {
  /** Whether it may read anything: then every commit concerns it. */
  readonly isEverything: boolean
  /** The tables, by `keyOf`. */
  readonly keys: ReadonlySet<string>
}

export const everything: Reads = { isEverything: true, keys: new Set() }

/** Changes as data that a thread can send. */
export interface ChangesData {
  readonly tables: ReadonlyMap<string, Written>
  readonly isUnknown: boolean
  readonly changesSchema: boolean
}

/** The changes of one commit, or of several. */
export class Changes {
  readonly #tables = new Map<string, Written>()
  #isUnknown = false
  #changesSchema = false

  /** Changes of which nothing is known. */
  static unknown(): Changes {
    const changes = new Changes()
    changes.#isUnknown = true
    return changes
  }

  /** The changes that another thread has sent. */
  static from({ changesSchema, isUnknown, tables }: ChangesData): Changes {
    const changes = new Changes()
    for (const [key, written] of tables) changes.#tables.set(key, written)
    changes.#isUnknown = isUnknown
    changes.#changesSchema = changesSchema
    return changes
  }

  get data(): ChangesData {
    return { tables: this.#tables, isUnknown: this.#isUnknown, changesSchema: this.#changesSchema }
  }

  /** Whether any table may have changed. */
  get isUnknown(): boolean {
    return this.#isUnknown
  }

  /** Whether the schema has changed, so that a query may mean other tables than before. */
  get changesSchema(): boolean {
    return this.#changesSchema
  }

  /** The names of the changed tables. */
  get names(): ReadonlyArray<string> {
    return Array.from(this.#tables.values(), ({ name }) => name)
  }

  get isEmpty(): boolean {
    return this.#tables.size === 0 && !this.#isUnknown && !this.#changesSchema
  }

  /** Adds what a statement has written. `isTemporarySeen`: whether queries see temporary tables of this connection. */
  addTables(tables: Tables, isTemporarySeen: boolean): void {
    for (const [key, written] of tables.writes) this.#tables.set(key, written)
    this.#changesSchema ||= tables.changesSchema || (isTemporarySeen && tables.changesTemporarySchema)
  }

  copy(): Changes {
    const copy = new Changes()
    copy.add(this)
    return copy
  }

  add(other: Changes): void {
    for (const [key, written] of other.#tables) this.#tables.set(key, written)
    this.#changesSchema ||= other.#changesSchema
    this.#isUnknown ||= other.#isUnknown
  }

  /** Whether they may change the result of a query. */
  concern({ isEverything, keys }: Reads): boolean {
    if (isEverything || this.#isUnknown || this.#changesSchema) return true
    for (const [key, { keyOfAny }] of this.#tables) if (keys.has(key) || keys.has(keyOfAny)) return true
    return false
  }
}

const { SQLITE_ALTER_TABLE, SQLITE_TRANSACTION } = constants

const [reads, writes, changesSchema, analyzes, pragma, controls] = [1, 2, 3, 4, 5, 6]

/** The kind of each action that is noted, by its number. */
const kinds = new Uint8Array(64)
kinds[constants.SQLITE_READ] = reads
for (const name of ["INSERT", "UPDATE", "DELETE"] as const) kinds[constants[`SQLITE_${name}`]] = writes
for (const [name, action] of Object.entries(constants)) {
  // To attach a database, or to detach one, changes what the names of tables mean.
  if (/^SQLITE_(?:CREATE|DROP)_|^SQLITE_(?:ALTER_TABLE|ATTACH|DETACH)$/.test(name)) kinds[action] = changesSchema
}
kinds[constants.SQLITE_ANALYZE] = analyzes
kinds[constants.SQLITE_PRAGMA] = pragma
kinds[SQLITE_TRANSACTION] = controls
kinds[constants.SQLITE_SAVEPOINT] = controls

/** Whether an action is noted. */
export const isNoted = (action: number): boolean => kinds[action] !== 0

const schemaTables: ReadonlySet<string> = new Set([
  "sqlite_master",
  "sqlite_schema",
  "sqlite_temp_master",
  "sqlite_temp_schema"
])

/** Whether a table holds a schema. */
export const isSchemaTable = (name: string): boolean => schemaTables.has(name)

/** Pragmas whose value is a part of the database that no table holds. */
const storedPragmas: ReadonlySet<string> = new Set(["user_version", "application_id"])
