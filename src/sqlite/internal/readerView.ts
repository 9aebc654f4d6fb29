/** A connection that could write, as somebody sees it who is to read: in memory, and within a transaction. */
import { Effect, Stream } from "effect"
import type { Params, SqliteConnection, SyncOptions } from "../SqliteConnection.ts"
import type { SqliteReader } from "../SqliteReader.ts"
import { refusedWrite } from "./sqlError.ts"
import * as SqlText from "./sqlText.ts"

export class ReaderView implements SqliteReader {
  readonly #connection: SqliteConnection

  constructor(connection: SqliteConnection) {
    this.#connection = connection
  }

  query(sql: string, params?: Params) {
    return onlyRead("query", sql) ?? this.#connection.query(sql, params)
  }

  values(sql: string, params?: Params) {
    return onlyRead("values", sql) ?? this.#connection.values(sql, params)
  }

  stream(sql: string, params?: Params) {
    const refusal = onlyRead("stream", sql)
    return refusal === undefined ? this.#connection.stream(sql, params) : Stream.fromEffect(refusal)
  }

  queryUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    if (!isRead(sql)) throw refusedWrite("queryUnsafe")
    return this.#connection.queryUnsafe(sql, params, options)
  }

  valuesUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    if (!isRead(sql)) throw refusedWrite("valuesUnsafe")
    return this.#connection.valuesUnsafe(sql, params, options)
  }
}

const onlyRead = (operation: string, sql: string) => isRead(sql) ? undefined : Effect.fail(refusedWrite(operation))

/** Texts that were looked at. */
const known = new Map<string, boolean>()
const mostKnown = 1000

/** Whether a statement does nothing but read. What cannot be told, or is no SQL, counts as if it did not. */
const isRead = (sql: string): boolean => {
  const answer = known.get(sql)
  if (answer !== undefined) return answer
  if (known.size === mostKnown) known.clear()
  const found = typeof sql === "string" && judge(sql)
  known.set(sql, found)
  return found
}

const judge = (sql: string): boolean => {
  const [, verb = "", rest = ""] = /^(?:\s|;|--[^\n]*\n|\/\*[\s\S]*?\*\/)*([a-z]+)([\s\S]*)$/i.exec(sql) ?? []
  switch (verb.toLowerCase()) {
    case "select":
    case "values":
      return true
    case "with":
      return !SqlText.read(sql).isWrite
    case "explain":
      // SQLite makes the setting, all the same.
      return !/\bpragma\b/i.test(rest)
    case "pragma":
      return isQuestion(rest)
    default:
      return false
  }
}

/** Whether a pragma asks for something: those that take no argument for that do not set anything either. */
const isQuestion = (rest: string): boolean => {
  const [, name = "", argument] = /^\s+(?:\w+\s*\.\s*)?(\w+)\s*([=(])?/.exec(rest) ?? []
  if (argument === undefined) return name !== "" && !tasks.has(name.toLowerCase())
  return argument === "(" && questions.has(name.toLowerCase())
}

const tasks: ReadonlySet<string> = new Set(["incremental_vacuum", "optimize", "shrink_memory", "wal_checkpoint"])

const questions: ReadonlySet<string> = new Set([
  "foreign_key_check",
  "foreign_key_list",
  "index_info",
  "index_list",
  "index_xinfo",
  "integrity_check",
  "quick_check",
  "table_info",
  "table_list",
  "table_xinfo"
])
