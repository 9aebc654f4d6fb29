/** What a statement does to its session, by its text: to the transaction, and to what would stay for the next lease. */
import { type Block, blockOf, hasStatement } from "./block.ts"
import { scan } from "./scanner.ts"
import type { Sharing } from "./sharing.ts"

/**
 * What a statement does to the transaction of its session:
 *
 * - `begin`, `end`: begins or ends one
 * - `chain`: ends one and begins the next
 * - `savepoint`: makes, releases or undoes a savepoint
 */
export type Control = "begin" | "end" | "chain" | "savepoint"

/** What a lease may leave in its session. Several are added up. */
export const Dirt = {
  none: 0,
  /** Settings: `set`, `set_config`. */
  settings: 1,
  /** The role: `set role`, `set session authorization`. */
  role: 2,
  /** Channels that it listens to. */
  channels: 4,
  /** Advisory locks that outlive their transaction. */
  locks: 8,
  temporaryTables: 16,
  /** Cursors that outlive their transaction. */
  cursors: 32,
  /** What cannot be undone, or would undo what the driver keeps: prepared statements, loaded libraries. */
  session: 64
} as const

/** The text of a statement, and what it does. */
export interface Text {
  readonly sql: string
  readonly control: Control | undefined
  /** The sum of what it may leave in the session. */
  readonly dirt: number
  /** Whether its effect ends with the transaction, so that it has none outside of one: `set local`. */
  readonly isLocal: boolean
  /** Whether it begins a transaction that refuses writes, or may make the open one refuse them. */
  readonly forbidsWrites: boolean
  /**
   * Whether it only reads, as far as its text tells. A function that it calls may write: a replica refuses that, and nothing has
   * changed.
   */
  readonly isRead: boolean
  /**
   * Whether its answer depends on what its session has done before: runs a prepared statement, or asks for the last value of a
   * sequence that it does not take itself.
   */
  readonly asksSession: "statement" | "sequence" | undefined
  /** Whether it is a `do`, whose block may take away itself what it leaves. */
  readonly isBlock: boolean
  /** Why the server must not get it; `undefined` if it may. */
  readonly invalid: string | undefined
  /** How many parameters it has. `undefined` if the text does not tell. */
  readonly parameters: number | undefined
  /** Whether it may share a connection with others, where there are some that are shared: asked and learnt there. */
  sharing: Sharing | undefined
}

/** Reads texts, and remembers the last ones. */
export class StatementTexts {
  readonly #bySql = new Map<string, Text>()
  #length = 0
  /** The text that was read last, unless it is too long to keep: a statement is asked for it several times in a row. */
  #last: Text | undefined = undefined

  read(sql: string): Text {
    if (this.#last?.sql === sql) return this.#last
    const text = this.#read(sql)
    this.#last = this.isWorthKeeping(sql) ? text : undefined
    return text
  }

  /** Whether a text is short enough to be kept. A text with many values in it is long, and different each time. */
  isWorthKeeping(sql: string): boolean {
    return sql.length <= longestToKeep
  }

  #read(sql: string): Text {
    const known = this.#bySql.get(sql)
    if (known !== undefined) return known
    const text = textOf(sql)
    if (!this.isWorthKeeping(sql)) return text
    this.#bySql.set(sql, text)
    this.#length += sql.length
    while (this.#bySql.size > textsToKeep || this.#length > lengthToKeep) {
      const oldest = this.#bySql.keys().next().value!
      this.#bySql.delete(oldest)
      this.#length -= oldest.length
    }
    return text
  }
}

const textsToKeep = 1000
const lengthToKeep = 1024 * 1024
const longestToKeep = 10_000

/** Reads one text. */
export const textOf = (sql: string): Text => {
  const { code: scanned, parameters } = scan(sql)
  // PostgreSQL skips empty statements before the first.
  const code = scanned.replace(/^[\s;]+/, "").toLowerCase()
  const isBlock = /^do\b/.test(code)
  const dirt = isBlock ? dirtOfBlock(blockOf(sql)) : dirtOf(code)
  const invalid = invalidityOf(sql, code)
  return {
    sql,
    control: controlOf(code),
    dirt,
    isRead: dirt === Dirt.none && invalid === undefined && isReadOf(code),
    // The name of what `set_config` sets is a literal or a value.
    forbidsWrites: /^(?:begin|start|set)\b.*\b(?:read\s+only|transaction_read_only)\b|\bset_config\s*\(/s.test(code),
    isLocal: /^set\s+(?:local|transaction|constraints)\b/.test(code) ||
      (dirt === Dirt.none && /^create\s/.test(code) && temporaryTable.test(code)),
    asksSession: asksSessionOf(code),
    isBlock,
    invalid,
    parameters,
    sharing: undefined
  }
}

const controlOf = (code: string): Control | undefined => {
  if (/^(?:begin\b|start\s+transaction\b)/.test(code)) return "begin"
  if (/^(?:savepoint|release)\b/.test(code)) return "savepoint"
  if (/^rollback\s+(?:(?:work|transaction)\s+)?to\b/.test(code)) return "savepoint"
  // A prepared transaction is not that of the session.
  if (/^(?:commit|rollback)\s+prepared\b/.test(code)) return undefined
  if (/^(?:commit|end|rollback|abort)\b/.test(code)) return /\band\s+chain\b/.test(code) ? "chain" : "end"
  return /^prepare\s+transaction\b/.test(code) ? "end" : undefined
}

const isReadOf = (code: string): boolean =>
  /^(?:select|values|table|with|explain|\()/.test(code) &&
  !/\b(?:insert|update|delete|merge|into|share)\b/.test(code) &&
  // Acts on the server that runs it, and not on what is stored.
  !/\bpg_(?:cancel_backend|terminate_backend|reload_conf|rotate_logfile|promote|stat_reset\w*)\s*\(/.test(code) &&
  !/\b(?:nextval|setval|currval|lastval|pg_notify|txid_\w+|lo_\w+|dblink\w*)\s*\(/.test(code) &&
  // About the server that writes, or about what only it has.
  !/\bpg_(?:current_wal\w*|current_xact_id\w*|(?:try_)?advisory\w*|export_snapshot|logical\w*|snapshot\w*)\s*\(/
    .test(code)

const asksSessionOf = (code: string): Text["asksSession"] => {
  if (/^execute\b/.test(code)) return "statement"
  return /\b(?:currval|lastval)\s*\(/.test(code) && !/\bnextval\s*\(/.test(code) ? "sequence" : undefined
}

const invalidityOf = (sql: string, code: string): string | undefined => {
  if (sql.includes("\0")) return "the statement has a zero character in it, which PostgreSQL does not take"
  // The driver would replace it, and something else would be stored.
  if (!sql.isWellFormed()) return "the statement has half a surrogate pair in it"
  return /^copy\b[^]*\b(?:from\s+stdin|to\s+stdout)\b/.test(code)
    ? "the driver cannot COPY from or to the client"
    : undefined
}

const dirtOf = (code: string): number => {
  let dirt: number = dirtOfCalls(code)
  if (/^(?:set|reset)\s+(?:session\s+)?(?:role|authorization)\b/.test(code)) dirt |= Dirt.role
  else if (/^set\s+(?!local\b|transaction\b|constraints\b)/.test(code)) dirt |= Dirt.settings
  if (/^listen\b/.test(code)) dirt |= Dirt.channels
  if (/^declare\b[^]*\bwith\s+hold\b/.test(code)) dirt |= Dirt.cursors
  if (/^(?:prepare\s+(?!transaction\b)|deallocate\b|discard\b|load\b)/.test(code)) dirt |= Dirt.session
  return dirt
}

const dirtOfBlock = (block: Block): number => {
  let dirt: number = dirtOfCalls(block.code) | dirtOfCalls(block.executed)
  if (hasStatement(block, "set\\s+(?!local\\b|transaction\\b|constraints\\b)")) dirt |= Dirt.settings | Dirt.role
  if (hasStatement(block, "listen\\b")) dirt |= Dirt.channels
  if (hasStatement(block, "declare\\b[^']*\\bwith\\s+hold\\b")) dirt |= Dirt.cursors
  if (hasStatement(block, "(?:prepare|deallocate|discard|load)\\s")) dirt |= Dirt.session
  return dirt
}

/** What is left by what may be anywhere in a statement. */
const dirtOfCalls = (code: string): number => {
  let dirt: number = Dirt.none
  // Its name is a literal or a value, so it may be the role.
  if (
    count(code, /\bset_config\s*\(/g) > count(code, /\bset_config\s*\([^()]*,\s*true\s*\)/g) ||
    /\bupdate\s+(?:only\s+)?(?:pg_catalog\s*\.\s*)?pg_settings\b/.test(code)
  ) dirt |= Dirt.settings | Dirt.role
  if (/\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(/.test(code)) dirt |= Dirt.locks
  // A table that is dropped at the commit stays for nobody.
  if (
    count(code, temporary) > count(code, /\bon\s+commit\s+drop\b/g) ||
    /\btemp(?:orary)?\s+(?:recursive\s+)?(?:view|sequence)\b|\bpg_temp\b/.test(code)
  ) dirt |= Dirt.temporaryTables
  return dirt
}

/** What may make a temporary table. `insert into temp` has a table of that name. */
const temporary = /(?:\bcreate|(?<!\b(?:insert|merge)\s+)\binto)\s+(?:(?:local|global)\s+)?temp(?:orary)?\b/g

const temporaryTable = /^create\s+(?:(?:local|global)\s+)?temp(?:orary)?\s+table\b/

const count = (text: string, what: RegExp): number => text.match(what)?.length ?? 0

/** The statements that remove what was left, in this order. */
export const cleaning = (dirt: number): ReadonlyArray<string> => {
  const statements: Array<string> = []
  // First: another role may not be allowed the rest.
  if ((dirt & Dirt.role) !== 0) statements.push("set session authorization default", "reset role")
  if ((dirt & Dirt.cursors) !== 0) statements.push("close all")
  if ((dirt & Dirt.channels) !== 0) statements.push("unlisten *")
  if ((dirt & Dirt.locks) !== 0) statements.push("select pg_advisory_unlock_all()")
  if ((dirt & Dirt.temporaryTables) !== 0) statements.push("discard temp")
  if ((dirt & Dirt.settings) !== 0) statements.push("reset all")
  return statements
}

/** What was left, for messages. */
export const nameOfDirt = (dirt: number): string => {
  const names: Array<string> = []
  if ((dirt & Dirt.settings) !== 0) names.push("a setting")
  if ((dirt & Dirt.role) !== 0 && (dirt & Dirt.settings) === 0) names.push("a role")
  if ((dirt & Dirt.channels) !== 0) names.push("a channel")
  if ((dirt & Dirt.locks) !== 0) names.push("an advisory lock")
  if ((dirt & Dirt.temporaryTables) !== 0) names.push("a temporary table")
  if ((dirt & Dirt.cursors) !== 0) names.push("a cursor")
  if ((dirt & Dirt.session) !== 0) names.push("a change of the session")
  return names.join(" and ")
}
