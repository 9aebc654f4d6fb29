/** Reads the code of a `do` statement, which is in a literal. */
import { scan } from "./scanner.ts"

/** The code of a block, in small letters. */
export interface Block {
  /** Without comments, and with nothing in its literals. */
  readonly code: string
  /** The whole code, literals and comments included, if the block executes literals as statements; else empty. */
  readonly executed: string
}

/** The code of a `do` statement. Where its literal cannot be read, all of its text is taken for code. */
export const blockOf = (sql: string): Block => {
  const [, , dollar, quoted] = literal.exec(sql) ?? []
  const text = (dollar ?? quoted?.replaceAll("''", "'") ?? sql).toLowerCase()
  // What an escape stands for is not read.
  if (dollar === undefined && text.includes("\\")) return { code: text, executed: text }
  const code = scan(text).code
  return { code, executed: /\bexecute\b/.test(code) ? text : "" }
}

/** Whether a statement in the block begins with these words, which are a pattern. */
export const hasStatement = ({ code, executed }: Block, words: string): boolean =>
  new RegExp(`(?:^|;|\\b(?:begin|then|else|loop)\\b)\\s*${words}`).test(code) ||
  new RegExp(`['$]${words}`).test(executed)

/** `do`, behind comments, and its literal in dollars or in quotes. */
const literal = /^(?:[\s;]|--[^\n]*\n|\/\*[^]*?\*\/)*do\b[^'$]*(?:(\$[\w\u0080-\uffff]*\$)([^]*)\1|'((?:[^']|'')*)')/i
