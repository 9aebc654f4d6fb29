/**
 * Whether a schema has foreign keys that SQLite checks at the commit of a transaction. In one transaction with others, the
 * work of one caller could cure what that of another has to fail for.
 */
import type { StatementSync } from "node:sqlite"
import { quoteName } from "../sql/demands.ts"
import type { Database } from "./database.ts"

/** Its methods throw what Node throws. */
export class DeferredKeys {
  readonly #database: Database
  readonly #own = new Map<string, StatementSync>()
  /** The names of all databases of the connection, with the versions of their schemas, as they were last looked at. */
  #versions: string | undefined = undefined
  #found = false

  constructor(database: Database) {
    this.#database = database
  }

  /** What was found last; nothing was found before the first look. */
  get wereThere(): boolean {
    return this.#found
  }

  /** Looks whether they are there. Reads the schemas only if one of them has changed: also by another process. */
  areThere(): boolean {
    const schemas = this.#ask("pragma database_list").map(([, name]) => quoteName(String(name)))
    const versions = schemas
      .map((schema) => `${schema} ${String(this.#ask(`pragma ${schema}.schema_version`)[0]?.[0])}`)
      .join("\n")
    if (versions !== this.#versions) {
      this.#found = schemas.some((schema) => this.#areIn(schema))
      this.#versions = versions
    }
    return this.#found
  }

  /** Looks whether `pragma defer_foreign_keys` is on. */
  areAllDeferred(): boolean {
    return this.#ask("pragma defer_foreign_keys")[0]?.[0] === 1
  }

  /** Looks anew at the next look: what was seen last may have been undone. */
  forget(): void {
    this.#versions = undefined
  }

  #areIn(schema: string): boolean {
    return this.#database.ask(`select sql from ${schema}.sqlite_schema where type = 'table'`)
      .some(([sql]) => deferred.test(String(sql)))
  }

  #ask(sql: string): ReadonlyArray<ReadonlyArray<unknown>> {
    let statement = this.#own.get(sql)
    if (statement === undefined) {
      // A name in it is that of an attached database, of which there are few.
      statement = this.#database.prepareOwn(sql)
      this.#own.set(sql, statement)
    }
    return statement.all() as unknown as Array<Array<unknown>>
  }
}

/** Both are keywords: nothing but space and comments may stand between them. In a string, a match is harmless. */
const deferred = /\binitially(?:\s|--[^\n]*(?:\n|$)|\/\*[^]*?\*\/)+deferred\b/i
