/**
 * Finds out whether a schema has foreign keys that SQLite checks at the commit of a transaction. With such keys, callers
 * cannot share a transaction: the work of one caller could repair the violation for which another has to fail.
 */
import type { StatementSync } from "node:sqlite"
import { quoteName } from "../sql/demands.ts"
import type { Database } from "./database.ts"

/** Methods throw the error of Node if a statement fails. */
export class DeferredKeys {
  readonly #database: Database
  readonly #own = new Map<string, StatementSync>()
  /** The statements that ask for the version of a schema, by its name. */
  readonly #ofSchemas = new Map<string, StatementSync>()
  /** The names and the schema versions of all databases of the connection, at the last look. */
  #versions: string | undefined = undefined
  #found = false
  /** Whether a pragma may have deferred all foreign keys, and statements may have been compiled since. */
  #mayDeferAll = false

  constructor(database: Database) {
    this.#database = database
  }

  /** The result of the last look. It is `false` before the first look. */
  get wereThere(): boolean {
    return this.#found
  }

  /** Looks for such keys. Reads the schemas only if one has changed. A change by another process counts too. */
  areThere(): boolean {
    const schemas = this.#ask("pragma database_list").map(([, name]) => quoteName(String(name)))
    this.#forgetAllBut(schemas)
    const versions = schemas
      .map((schema) => `${schema} ${String(this.#versionOf(schema))}`)
      .join("\n")
    if (versions !== this.#versions) {
      this.#found = schemas.some((schema) => this.#areIn(schema))
      this.#versions = versions
    }
    return this.#found
  }

  /** Looks whether `pragma defer_foreign_keys` is on. It defers all foreign keys. */
  areAllDeferred(): boolean {
    return this.#ask("pragma defer_foreign_keys")[0]?.[0] === 1
  }

  /** `pragma defer_foreign_keys` is about to be set. */
  deferAll(): void {
    this.#mayDeferAll = true
  }

  /**
   * Has SQLite compile all statements again, as soon as that pragma is off. SQLite turns it off at the end of a transaction,
   * but keeps what it has compiled for it: an insert of one row that violates a key. In a later transaction it fails without being
   * undone, and its row is stored with the rest.
   */
  recompile(): void {
    if (!this.#mayDeferAll || this.areAllDeferred()) return
    // To set the pragma again would do that too, but in a transaction SQLite would forget the keys that are violated so far.
    this.#database.authorizer.makeStale()
    this.#mayDeferAll = false
  }

  /** Makes the next look read the schemas. A rollback may have undone the change that was seen last. */
  forget(): void {
    this.#versions = undefined
  }

  #areIn(schema: string): boolean {
    return this.#database.ask(`select sql from ${schema}.sqlite_schema where type = 'table'`)
      .some(([sql]) => deferred.test(String(sql)))
  }

  #ask(sql: "pragma database_list" | "pragma defer_foreign_keys"): ReadonlyArray<ReadonlyArray<unknown>> {
    return this.#keptIn(this.#own, sql, sql).all() as unknown as Array<Array<unknown>>
  }

  #versionOf(schema: string): unknown {
    const statement = this.#keptIn(this.#ofSchemas, schema, `pragma ${schema}.schema_version`)
    return (statement.get() as ReadonlyArray<unknown> | undefined)?.[0]
  }

  #keptIn(kept: Map<string, StatementSync>, key: string, sql: string): StatementSync {
    let statement = kept.get(key)
    if (statement === undefined) {
      statement = this.#database.prepareOwn(sql)
      kept.set(key, statement)
    }
    return statement
  }

  /** Databases that were detached never come back, if each has a name of its own. */
  #forgetAllBut(schemas: ReadonlyArray<string>): void {
    if (this.#ofSchemas.size <= schemas.length) return
    for (const schema of this.#ofSchemas.keys()) if (!schemas.includes(schema)) this.#ofSchemas.delete(schema)
  }
}

/** Matches the two keywords, with only space and comments between them. A match inside a string is harmless. */
const deferred = /\binitially(?:\s|--[^\n]*(?:\n|$)|\/\*[^]*?\*\/)+deferred\b/i
