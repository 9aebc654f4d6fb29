/**
 * Scans SQL for statements and placeholders. `node:sqlite` does not count placeholders, and runs only the first of
 * several statements without saying so.
 *
 * It follows SQLite's own tokenizer (https://sqlite.org/src/file/src/tokenize.c). For the ends of statements it follows
 * `sqlite3_complete`, because a trigger has semicolons inside. SQLite rejects invalid SQL; the scanner only finds an
 * end.
 */

export interface SqlText {
  /** The number of statements. Space and comments alone are no statement. */
  readonly statements: number
  /** The positions after the semicolon of each statement. The last statement may have no semicolon. */
  readonly ends: ReadonlyArray<number>
  /** The placeholders in the order of SQLite's numbers: the name with its prefix; `undefined` for `?` and `?1`. */
  readonly placeholders: ReadonlyArray<string | undefined>
  readonly isNamed: boolean
  readonly isPositional: boolean
  /** Whether the first statement inserts, updates or deletes. Only for these SQLite counts the changed rows. */
  readonly isWrite: boolean
  /** Whether the first statement only reads, by its text. A function that it calls may still write. */
  readonly isRead: boolean
  /** Whether the first word begins a statement of SQLite. If not, SQLite rejects the text. */
  readonly isStatement: boolean
  /** Whether a statement begins or ends a transaction or a savepoint. */
  readonly controlsTransaction: boolean
  /** Whether a statement begins a transaction with the right to write: `begin immediate`, `begin exclusive`. */
  readonly takesLock: boolean
}

/** Reads a text once, from start to end. */
export const read = (sql: string): SqlText => {
  const statements = new Statements()
  const placeholders = new Placeholders()
  const { length } = sql
  let at = 0
  while (at < length) {
    const code = sql.charCodeAt(at)
    switch (code) {
      case 9: // tab
      case 10: // line feed
      case 12: // form feed
      case 13: // carriage return
      case 32: // space
      case 0xfeff: // byte order mark
        at++
        break
      case 45: // -
        if (sql.charCodeAt(at + 1) === 45) at = after(sql, "\n", at + 2)
        else {
          statements.symbol(code)
          at++
        }
        break
      case 47: // /
        // At the end of the text, SQLite does not read `/*` as a comment.
        if (sql.charCodeAt(at + 1) === 42 && at + 2 < length) at = after(sql, "*/", at + 2)
        else {
          statements.symbol(code)
          at++
        }
        break
      case 34: // "
      case 39: // '
      case 96: // `
      case 91: // [
        statements.symbol(code)
        at = code === 91 ? after(sql, "]", at + 1) : afterQuoted(sql, code, at + 1)
        break
      case 59: // ;
        at++
        statements.semicolon(at)
        break
      case 63: { // ?
        let end = at + 1
        while (isDigit(sql.charCodeAt(end))) end++
        statements.symbol(code)
        placeholders.positional(sql.slice(at + 1, end))
        at = end
        break
      }
      case 35: // #
      case 36: // $
      case 58: // :
      case 64: { // @
        const end = afterName(sql, at + 1)
        statements.symbol(code)
        if (end > at + 1) placeholders.named(sql.slice(at, end))
        at = end
        break
      }
      default: {
        if (!isIdentifierPart(code)) {
          statements.symbol(code)
          at++
          break
        }
        let end = at + 1
        while (isIdentifierPart(sql.charCodeAt(end))) end++
        if (isDigit(code)) statements.symbol(code)
        else if (statements.needsWord) statements.word(sql.slice(at, end).toLowerCase())
        at = end
      }
    }
  }
  if (statements.ends.length < statements.count) statements.ends.push(length)
  return {
    statements: statements.count,
    ends: statements.ends,
    placeholders: placeholders.all,
    isNamed: placeholders.hasNamed,
    isPositional: placeholders.hasPositional,
    isWrite: statements.isWrite,
    isRead: statements.isRead,
    isStatement: statements.isStatement,
    controlsTransaction: statements.controlsTransaction,
    takesLock: statements.takesLock
  }
}

const isDigit = (code: number): boolean => code >= 48 && code <= 57

/** Letters, digits, `_`, `$` and all characters beyond ASCII. */
const isIdentifierPart = (code: number): boolean =>
  (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || isDigit(code) || code === 95 || code === 36 ||
  code >= 128

const after = (sql: string, end: string, from: number): number => {
  const at = sql.indexOf(end, from)
  return at < 0 ? sql.length : at + end.length
}

/** The position after the closing quote. Two quotes in a row are one quote inside the text. */
const afterQuoted = (sql: string, quote: number, from: number): number => {
  const mark = String.fromCharCode(quote)
  let at = from
  for (;;) {
    at = after(sql, mark, at)
    if (sql.charCodeAt(at) !== quote) return at
    at++
  }
}

/**
 * The position after the name of a placeholder: letters, with `::` between them, and at the end a text in parentheses.
 */
const afterName = (sql: string, from: number): number => {
  let at = from
  let isEmpty = true
  for (;;) {
    const code = sql.charCodeAt(at)
    if (isIdentifierPart(code)) {
      isEmpty = false
      at++
    } else if (code === 58 && sql.charCodeAt(at + 1) === 58) at += 2
    else if (code === 40 && !isEmpty) {
      const suffix = /[^\s)]*\)?/y
      suffix.lastIndex = at + 1
      return at + 1 + suffix.exec(sql)![0].length
    } else return isEmpty ? from : at
  }
}

/** The highest number of a placeholder in SQLite. */
const maxNumber = 32_766

class Placeholders {
  readonly all: Array<string | undefined> = []
  readonly #names = new Set<string>()
  hasPositional = false

  get hasNamed(): boolean {
    return this.#names.size > 0
  }

  positional(digits: string): void {
    this.hasPositional = true
    const number = digits === "" ? this.all.length + 1 : Number(digits)
    // SQLite refuses a statement with a higher number.
    if (number > maxNumber) return
    while (this.all.length < number) this.all.push(undefined)
  }

  named(name: string): void {
    if (this.#names.has(name)) return
    this.#names.add(name)
    this.all.push(name)
  }
}

/** The position in a statement: the states of `sqlite3_complete`. */
type Position = "start" | "inside" | "explain" | "create" | "trigger" | "semicolon" | "end"

/** The words that begin the statements of SQLite. */
const verbs: ReadonlySet<string> = new Set(
  ("alter analyze attach begin commit create delete detach drop end explain insert pragma reindex release replace rollback " +
    "savepoint select update vacuum values with").split(" ")
)

/** Follows the statements of a text, token by token. */
class Statements {
  count = 0
  readonly ends: Array<number> = []
  isWrite = false
  isRead = false
  isStatement = false
  controlsTransaction = false
  takesLock = false
  #position: Position = "start"
  #verb = ""
  /** The name of a pragma. */
  #name = ""
  /** The number of open parentheses. */
  #depth = 0
  #isExplained = false

  /** Whether the next word has to be read. Most words do not matter. */
  get needsWord(): boolean {
    return this.#position !== "inside" || this.#verb === "with" || this.#verb === "begin" || this.#verb === "pragma"
  }

  /** Reads an unquoted word, in lower case. */
  word(word: string): void {
    if (this.#position === "start") {
      this.count++
      this.#verb = word
      if (this.count === 1) this.isStatement = verbs.has(word)
    }
    this.#position = positionAfter(this.#position, word)
    switch (this.#verb) {
      case "select":
      case "values":
        return this.#read(true)
      case "explain":
        this.#isExplained = true
        // `explain pragma` still changes a setting of the connection.
        if (word === "pragma") this.#verb = word
        return this.#read(true)
      case "begin":
      case "commit":
      case "end":
      case "rollback":
      case "savepoint":
      case "release":
        this.controlsTransaction = true
        if (this.#verb === "begin" && (word === "immediate" || word === "exclusive")) this.takesLock = true
        return
      case "insert":
      case "update":
      case "delete":
      case "replace":
        return this.#write()
      case "with":
        // `into` decides, because the word before it, `replace`, may also be the name of a table.
        if (this.#depth > 0) return
        if (word === "into" || word === "update" || word === "delete") return this.#write()
        if (word !== "select" && word !== "values") return
        this.#verb = word
        return this.#read(true)
      case "pragma":
        this.#name = word
        this.#read(readingPragmas.has(word) || readingPragmasWithArgument.has(word))
    }
  }

  /** Reads another token that is no space and no semicolon. */
  symbol(code: number): void {
    if (this.#position === "start") this.count++
    this.#position = positionAfter(this.#position, "")
    if (code === 40) this.#depth++
    else if (code === 41) this.#depth--
    // A pragma with a value: `pragma name = value` or `pragma name(value)`.
    if (this.#verb === "pragma" && (code === 61 || code === 40)) {
      this.#read(readingPragmasWithArgument.has(this.#name))
      // The value follows, and is no verb.
      this.#verb = ""
    }
  }

  semicolon(end: number): void {
    if (this.#position === "trigger" || this.#position === "semicolon") this.#position = "semicolon"
    else {
      if (this.#position !== "start") this.ends.push(end)
      this.#position = "start"
      this.#verb = ""
      this.#depth = 0
      this.#isExplained = false
    }
  }

  #write(): void {
    if (this.count === 1) this.isWrite = true
    this.#verb = ""
  }

  #read(isRead: boolean): void {
    if (this.count === 1) this.isRead = isRead || this.#isExplained
  }
}

const positionAfter = (position: Position, word: string): Position => {
  switch (position) {
    case "start":
      return word === "explain" || word === "create" ? word : "inside"
    case "inside":
      return "inside"
    case "explain":
      return word === "create" ? "create" : "explain"
    case "create":
      if (word === "trigger") return "trigger"
      return word === "temp" || word === "temporary" ? "create" : "inside"
    case "semicolon":
      return word === "end" ? "end" : "trigger"
    case "trigger":
    case "end":
      return "trigger"
  }
}

/** Pragmas that only read the file, if they have no value. Settings of a connection are not in this list. */
const readingPragmas: ReadonlySet<string> = new Set([
  "application_id",
  "collation_list",
  "compile_options",
  "data_version",
  "encoding",
  "freelist_count",
  "function_list",
  "module_list",
  "page_count",
  "page_size",
  "pragma_list",
  "schema_version",
  "user_version"
])

/** Pragmas that only read the file, also with an argument. */
const readingPragmasWithArgument: ReadonlySet<string> = new Set([
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
