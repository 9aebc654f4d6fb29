/** `node:sqlite` as this library opens it: SQLite never waits for locks, and the authorizer sees each statement. */
import { DatabaseSync, type StatementSync } from "node:sqlite"
import type { Settings } from "../options/connection.ts"
import { Authorizer, type Subject } from "../sql/authorizer.ts"
import { quoteName } from "../sql/demands.ts"
import type { Tables } from "../sql/tables.ts"
import { Functions } from "./functions.ts"
import { immutable } from "./immutable.ts"

/** The things that a connection has besides its main database. */
export interface Besides {
  /** The files of attached databases, by name. */
  readonly databases: ReadonlyMap<string, string>
  /** The types of temporary tables, views, triggers and indexes, by name. */
  readonly temporary: ReadonlyMap<string, string>
}

/** Its methods throw the errors of Node. */
export class Database {
  readonly sqlite: DatabaseSync
  readonly authorizer: Authorizer
  /** The SQL functions of the application. */
  readonly functions: Functions

  /** Opens the file, but does not read it. */
  constructor(settings: Settings) {
    this.sqlite = open(settings)
    this.functions = functionsOn(this.sqlite, settings)
    this.authorizer = new Authorizer(this.sqlite, this.functions.aggregates)
  }

  /** Runs a script of this library, not of a caller. */
  own(sql: string): void {
    this.functions.assertNone("own statement")
    this.authorizer.for(undefined, () => this.sqlite.exec(sql))
  }

  /** Runs a statement of this library, and returns its rows as arrays. */
  ask(sql: string): ReadonlyArray<ReadonlyArray<unknown>> {
    return this.authorizer.for(undefined, () => this.prepareOwn(sql).all() as unknown as Array<Array<unknown>>)
  }

  /** Compiles a statement that is the connection's own, and returns its rows as arrays. */
  prepareOwn(sql: string): StatementSync {
    return this.authorizer.for(undefined, () => this.sqlite.prepare(sql, { returnArrays: true }))
  }

  /** Runs a script of a caller. The subject gets the demands of each statement, and `tables` the tables of all. */
  script(script: string, subject: Subject, tables: Tables): void {
    this.authorizer.tables = tables
    this.authorizer.for(subject, () => this.sqlite.exec(script))
  }

  /** The rowid of the last insert, exactly. */
  lastInsertRowid(): bigint {
    const options = { readBigInts: true, returnArrays: true }
    const [row] = this.authorizer.for(
      undefined,
      () => this.sqlite.prepare("select last_insert_rowid()", options).all() as unknown as [[bigint]]
    )
    return row[0]
  }

  /** Moves the log to the file as far as possible, and deletes it if it has to end, and closes the file. */
  leave(log: "empty" | "end" | undefined): void {
    if (log === "empty") this.tryPragma("pragma wal_checkpoint(truncate)")
    // It fails only after it has deleted the log.
    else if (log === "end") this.tryPragma("pragma journal_mode = delete")
    this.functions.afterwards(() => this.sqlite.isOpen && this.close())
  }

  /** Closes the file, and lets go of everything, so that the closed connection is garbage. */
  close(): void {
    this.authorizer.remove()
    this.sqlite.close()
  }

  /**
   * Ends the transaction if one is open, and runs a pragma. Ignores errors, because the connection is about to close.
   */
  tryPragma(pragma: string): void {
    this.functions.afterwards(() => {
      try {
        if (this.sqlite.isTransaction) this.own("rollback")
        this.own(pragma)
      } catch {
        // The file stays as it was.
      }
    })
  }

  isTrigger(name: string): boolean {
    const schemas = this.ask("select name from pragma_database_list")
    return schemas.some(([schema]) =>
      this.ask(`select name from ${quoteName(String(schema))}.sqlite_schema where type = 'trigger'`)
        .some(([trigger]) => String(trigger).toLowerCase() === name.toLowerCase())
    )
  }

  /** Whether a view or trigger has the name of an aggregate of the application, so that statements may call it. */
  mentionsAggregate(): boolean {
    return this.ask("select name from pragma_database_list").some(([schema]) =>
      this.ask(`select sql from ${quoteName(String(schema))}.sqlite_schema where type in ('view', 'trigger')`)
        .some(([sql]) => this.functions.mentionsAggregate(String(sql)))
    )
  }

  besides(): Besides {
    const databases = this.ask("select name, file from pragma_database_list where name not in ('main', 'temp')")
    const temporary = this.ask("select name, type from sqlite_temp_schema")
    return {
      databases: new Map(databases.map(([name, file]) => [String(name), String(file)])),
      temporary: new Map(temporary.map(([name, type]) => [String(name), String(type)]))
    }
  }

  /** Loads an extension of SQLite on this connection. SQL itself may not load extensions. */
  loadExtension(path: string): void {
    loadExtensions(this.sqlite, [path])
  }
}

const open = ({ extensions, filename, isImmutable, isReadOnly, onOpen }: Settings): DatabaseSync => {
  const allowExtension = extensions !== undefined || onOpen !== undefined
  const database = new DatabaseSync(isImmutable ? immutable(filename) : filename, {
    readOnly: isReadOnly,
    timeout: 0,
    allowExtension
  })
  if (!allowExtension) return database
  try {
    loadExtensions(database, extensions ?? [])
  } catch (thrown) {
    database.close()
    throw thrown
  }
  return database
}

const functionsOn = (database: DatabaseSync, { functions }: Settings): Functions => {
  try {
    return new Functions(database, functions)
  } catch (thrown) {
    database.close()
    throw thrown
  }
}

const loadExtensions = (database: DatabaseSync, paths: Iterable<string>): void => {
  try {
    database.enableLoadExtension(true)
    for (const path of paths) database.loadExtension(path)
  } finally {
    database.enableLoadExtension(false)
  }
}
