/**
 * Turns the integers of SQLite, which have 64 bits, into numbers; into bigints beyond 2^53.
 *
 * This is for statements that write. They are carried out before their rows are read, so an integer beyond 2^53 must
 * not be an error there. In a statement that only reads, it is one.
 */
import { DatabaseSync } from "node:sqlite"

/** The number, or the bigint itself if no number has exactly this value. */
export const exactly = (integer: bigint): number | bigint => {
  const number = Number(integer)
  return Number.isSafeInteger(number) ? number : integer
}

/** A rowid as it is wanted. `read` asks SQLite for it again where Node has rounded it. */
export const rowidOf = (said: number | bigint, bigInts: boolean, read: () => bigint): number | bigint => {
  if (typeof said === "bigint") return bigInts ? said : exactly(said)
  if (Number.isSafeInteger(said)) return bigInts ? BigInt(said) : said
  return read()
}

/** Turns the bigints of a row into numbers, in place. The row is an object or an array. */
export const withNumbers = <Row>(row: Row): Row => {
  const values = row as Record<string, unknown>
  for (const column in values) {
    const value = values[column]
    if (typeof value === "bigint") values[column] = exactly(value)
  }
  return row
}

/** Reads rows step by step, and turns their bigints into numbers. */
export class Numbers implements Iterator<unknown> {
  readonly #rows: Iterator<unknown>

  constructor(rows: Iterator<unknown>) {
    this.#rows = rows
  }

  next(): IteratorResult<unknown> {
    const next = this.#rows.next()
    return next.done === true ? next : { done: false, value: withNumbers(next.value) }
  }

  return(): IteratorResult<unknown> {
    return this.#rows.return?.() ?? { done: true, value: undefined }
  }
}

let areRefused: boolean | undefined

/**
 * Whether `StatementSync.run` throws for a rowid beyond 2^53 after it has stored the row. Node 26 does; Node 24 returns
 * a rounded number. Bigints take a tenth of the time of an insert into memory, so they are used only if necessary.
 */
export const runRefusesNumbers = (): boolean => areRefused ??= tryRun()

const tryRun = (): boolean => {
  const database = new DatabaseSync(":memory:")
  try {
    database.exec("create table t(id integer primary key)")
    database.prepare("insert into t values (9007199254740993)").run()
    return false
  } catch {
    return true
  } finally {
    database.close()
  }
}
