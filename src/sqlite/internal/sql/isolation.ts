/** The isolation that the text of a `begin` asks for: https://sqlite.org/lang_transaction.html. */
import type { Isolation } from "../contract/transaction.ts"

export const isolationOf = (statement: string): Isolation => {
  const [, word] = begin.exec(statement) ?? []
  return (word?.toLowerCase() as Isolation | undefined) ?? "deferred"
}

const begin = /^\s*begin\s+(immediate|exclusive)\b/i
