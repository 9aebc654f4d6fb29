/** What the two sides know by the numbers of texts, as the thread sees it. */
import type { StatementRequest, TextNumber } from "./protocol.ts"

export class KnownTexts {
  readonly #texts = new Map<TextNumber, string>()
  /** The names of columns that the other side knows. */
  readonly #columns = new Map<TextNumber, ReadonlyArray<string>>()

  /** The text of a statement, which is sent with its first request only. */
  textOf({ number, sql }: StatementRequest): string {
    if (sql === undefined) return this.#texts.get(number!)!
    if (number !== undefined) this.#texts.set(number, sql)
    return sql
  }

  /** The names of columns to send with rows. `undefined`: the other side knows them. */
  columnsFor(number: TextNumber | undefined, names: ReadonlyArray<string>): ReadonlyArray<string> | undefined {
    // A number that was forgotten meanwhile is never used again.
    if (number === undefined || !this.#texts.has(number)) return names
    const isKnown = this.#columns.get(number) === names
    this.#columns.set(number, names)
    return isKnown ? undefined : names
  }

  forget(numbers: ReadonlyArray<TextNumber>): void {
    for (const number of numbers) {
      this.#texts.delete(number)
      this.#columns.delete(number)
    }
  }
}
