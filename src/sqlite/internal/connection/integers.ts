/**
 * Integers of SQLite, which have 64 bits, as numbers where a number holds them exactly, and as bigints beyond 2^53.
 *
 * For a statement that writes: it is carried out before anything that it gives can be read. So nothing that it gives may be
 * an error, as an integer beyond 2^53 is where a statement only reads.
 */
import { DatabaseSync } from "node:sqlite"

/** The number, or the same bigint if no number is exactly that. */
export const exactly = (integer: bigint): number | bigint => {
  const number = Number(integer)
  return Number.isSafeInteger(number) ? number : integer
}

/** Makes numbers of the bigints in a row, in place: an object or an array that is not shared. */
export const withNumbers = <Row>(row: Row): Row => {
  const values = row as Record<string, unknown>
  for (const column in values) {
    const value = values[column]
    if (typeof value === "bigint") values[column] = exactly(value)
  }
  return row
}

/** Rows that are read as they are asked for, with numbers for their bigints. */
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
    return this.#rows.return!()
  }
}

let areRefused: boolean | undefined

/**
 * Whether `StatementSync.run` throws over a rowid beyond 2^53 where it is to give numbers, with the row stored by then: Node
 * 26 does, Node 24 gives a rounded number. Bigints cost a tenth of an insert into memory, so they are asked for only where
 * they are needed.
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
