/** A connection that can write, lent as a reader: for a database in memory, and in a transaction. */
import { Effect, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { SqliteSyncReader } from "../../SqliteReader.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import type { Params, SyncOptions } from "../contract/values.ts"
import { toSqlError } from "../errors.ts"
import { isReadOnly, readRefusal, StatementTexts } from "../sql/statementKind.ts"

export class ReaderView implements SqliteSyncReader {
  readonly #connection: SqliteConnection
  readonly #why: string

  /** Statements that do more than read are refused for the reason `why`. */
  constructor(connection: SqliteConnection, why: string) {
    this.#connection = connection
    this.#why = why
  }

  query(sql: string, params?: Params) {
    return isRead(sql) ? this.#connection.query(sql, params) : Effect.fail(this.#refusal("query", sql))
  }

  values(sql: string, params?: Params) {
    return isRead(sql) ? this.#connection.values(sql, params) : Effect.fail(this.#refusal("values", sql))
  }

  stream(sql: string, params?: Params) {
    return isRead(sql) ? this.#connection.stream(sql, params) : Stream.fail(this.#refusal("stream", sql))
  }

  queryUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    if (!isRead(sql)) throw this.#refusal("queryUnsafe", sql)
    return this.#connection.queryUnsafe(sql, params, options)
  }

  valuesUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    if (!isRead(sql)) throw this.#refusal("valuesUnsafe", sql)
    return this.#connection.valuesUnsafe(sql, params, options)
  }

  #refusal(operation: string, sql: string): SqlError {
    return toSqlError(readRefusal(operation, texts.read(sql), this.#why))
  }
}

const texts = new StatementTexts()

const isRead = (sql: string): boolean => isReadOnly(texts.read(sql))
