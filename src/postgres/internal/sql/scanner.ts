/** Reads the text of a statement of PostgreSQL, as far as one can without the database. */

export interface Scanned {
  /**
   * The text without its comments, and with nothing in its literals and quoted names: what is left is code. A quoted name that
   * PostgreSQL itself may have, such as `"set_config"`, is there without its quotes.
   */
  readonly code: string
  /** The highest number of a parameter (`$1`). `undefined` if the text leaves it open where its literals end. */
  readonly parameters: number | undefined
}

/**
 * Separates code from literals and comments: https://www.postgresql.org/docs/current/sql-syntax-lexical.html.
 *
 * A backslash in a plain literal means one thing or another, by a setting of the server (`standard_conforming_strings`).
 * It is read as the default setting reads it, and the number of parameters is left open.
 */
export const scan = (sql: string): Scanned => {
  let code = ""
  let highest = 0
  let isSure = true
  let at = 0
  while (at < sql.length) {
    const character = sql[at]!
    if (sql.startsWith("--", at)) {
      const end = sql.indexOf("\n", at)
      at = end < 0 ? sql.length : end
    } else if (sql.startsWith("/*", at)) {
      at = endOfComment(sql, at)
      code += " "
    } else if (character === "'") {
      const end = endOfQuoted(sql, at, "'", false)
      if (sql.slice(at, end).includes("\\")) isSure = false
      code += "''"
      at = end
    } else if (character === "\"") {
      const end = endOfQuoted(sql, at, "\"", false)
      const name = sql.slice(at + 1, end - 1)
      code += ofPostgres.test(name) ? name : "\"\""
      at = end
    } else if (character === "$") {
      const [tag] = dollarQuote.exec(sql.slice(at, at + longestTag)) ?? []
      const [, number] = parameter.exec(sql.slice(at, at + 12)) ?? []
      if (tag !== undefined) {
        const end = sql.indexOf(tag, at + tag.length)
        code += "''"
        at = end < 0 ? sql.length : end + tag.length
      } else {
        if (number !== undefined) highest = Math.max(highest, Number(number))
        code += character
        at++
      }
    } else if (isWord(character)) {
      const start = at
      while (at < sql.length && (isWord(sql[at]!) || sql[at] === "$")) at++
      const word = sql.slice(start, at)
      if (sql[at] === "'" && /^e$/i.test(word)) {
        code += "''"
        at = endOfQuoted(sql, at, "'", true)
      } else code += word
    } else {
      code += character
      at++
    }
  }
  return { code, parameters: isSure ? highest : undefined }
}

/** The names of PostgreSQL for which texts are searched. A keyword in quotes is a name of the application. */
const ofPostgres = /^(?:pg_\w+|set_config|nextval|setval|currval|lastval|txid_\w+|lo_\w+|dblink\w*)$/

const isWord = (character: string): boolean => /[\w\u0080-\uffff]/.test(character)

const dollarQuote = /^\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/

/** PostgreSQL cuts names at 63 bytes. */
const longestTag = 66

const parameter = /^\$(\d+)/

/** The position after a comment. Comments nest. */
const endOfComment = (sql: string, start: number): number => {
  let depth = 0
  let at = start
  while (at < sql.length) {
    if (sql.startsWith("/*", at)) {
      depth++
      at += 2
    } else if (sql.startsWith("*/", at)) {
      depth--
      at += 2
      if (depth === 0) return at
    } else at++
  }
  return at
}

/** The position after a literal or a quoted name. A doubled quote is part of it. */
const endOfQuoted = (sql: string, start: number, quote: string, hasEscapes: boolean): number => {
  let at = start + 1
  while (at < sql.length) {
    if (hasEscapes && sql[at] === "\\") at += 2
    else if (sql[at] !== quote) at++
    else if (sql[at + 1] === quote) at += 2
    else return at + 1
  }
  return sql.length
}
