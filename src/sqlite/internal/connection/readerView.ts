/** A connection that could write, as somebody sees it who is to read: in memory, and within a transaction. */
import { Effect, Stream } from "effect"
import type { Params, SqliteConnection, SyncOptions } from "../../SqliteConnection.ts"
import type { SqliteReader } from "../../SqliteReader.ts"
import { Kinds } from "../sql/statementKind.ts"
import { refusedWrite } from "./errors.ts"

export class ReaderView implements SqliteReader {
  readonly #connection: SqliteConnection
  readonly #why: string

  /** Of a statement that does more than read it says `why` that is refused. */
  constructor(connection: SqliteConnection, why: string) {
    this.#connection = connection
    this.#why = why
  }

  query(sql: string, params?: Params) {
    return isRead(sql) ? this.#connection.query(sql, params) : Effect.fail(refusedWrite("query", sql, this.#why))
  }

  values(sql: string, params?: Params) {
    return isRead(sql) ? this.#connection.values(sql, params) : Effect.fail(refusedWrite("values", sql, this.#why))
  }

  stream(sql: string, params?: Params) {
    return isRead(sql) ? this.#connection.stream(sql, params) : Stream.fail(refusedWrite("stream", sql, this.#why))
  }

  queryUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    if (!isRead(sql)) throw refusedWrite("queryUnsafe", sql, this.#why)
    return this.#connection.queryUnsafe(sql, params, options)
  }

  valuesUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    if (!isRead(sql)) throw refusedWrite("valuesUnsafe", sql, this.#why)
    return this.#connection.valuesUnsafe(sql, params, options)
  }
}

const kinds = new Kinds()

const isReadKind: ReadonlySet<string> = new Set(["read", "recall"])

/** Whether a statement does nothing but read. To explain a pragma makes its setting all the same. */
const isRead = (sql: string): boolean => isReadKind.has(kinds.of(sql)) && !/^[^a-z]*explain\b[^]*\bpragma\b/i.test(sql)
