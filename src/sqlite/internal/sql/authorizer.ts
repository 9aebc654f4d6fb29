/**
 * SQLite's authorizer: SQLite calls it for each action of a statement while it compiles the statement, before the
 * statement has an effect. See https://sqlite.org/c3ref/set_authorizer.html.
 *
 * It is set when a database opens, and removed when it closes: each time it is set, all prepared statements become stale.
 * SQLite does not say which statement a call is about. So `subject` is set before a statement is compiled. SQLite also
 * compiles statements while another runs: again after a change of the schema, or for its own use, as in full-text
 * tables and `vacuum`. These calls go to the subject that is set while statements run.
 */
import { constants, type DatabaseSync, type StatementSync } from "node:sqlite"
import type { Demand } from "./demands.ts"
import { isNoted, keyOf, type Tables } from "./tables.ts"

/** Gets the demands of a statement. */
export interface Subject {
  /**
   * Called for each demand before it has an effect. If it throws, the statement fails with that error, and does
   * nothing.
   */
  readonly demanded: (demand: Demand) => void
}

/** SQLite was about to compile a call of an aggregate into a statement whose failure might leave a part of its work. */
export class AggregateCalled extends Error {}

export class Authorizer {
  /** The subject of the statements that are compiled now. Not set for statements of this library. */
  subject: Subject | undefined
  /** The tables of the statement that is compiled or runs now. They are noted only while there is a subject. */
  tables: Tables | undefined
  /**
   * The tables that were read by statements that SQLite has compiled while others ran, by `keyOf`. Full-text tables keep such
   * statements, so they are reported only once.
   */
  readonly readWhileRunning = new Set<string>()
  /** Whether a statement that runs fails with `AggregateCalled` if SQLite compiles a call of an aggregate into it. */
  refusesAggregates = false
  #isPreparing = false

  readonly #database: DatabaseSync
  readonly #authorize: Parameters<DatabaseSync["setAuthorizer"]>[0]

  /** `aggregates` are the names of the aggregates of the application, in lower case. */
  constructor(database: DatabaseSync, aggregates: ReadonlySet<string> = new Set()) {
    this.#database = database
    this.#authorize = (action, first, second, schema, source) => {
      if (this.subject === undefined) return constants.SQLITE_OK
      if (isNoted(action)) this.#note(action, first, second, schema)
      if (action === SQLITE_FUNCTION && aggregates.size > 0 && aggregates.has(second!.toLowerCase())) this.#calls()
      if (isNotable[action] === 1) {
        const demand = demandOf(action, first, second, schema, source)
        if (demand !== undefined) this.subject.demanded(demand)
      }
      return constants.SQLITE_OK
    }
    database.setAuthorizer(this.#authorize)
  }

  /** Makes all prepared statements stale, so that SQLite compiles each again before it runs. Those that run now go on. */
  makeStale(): void {
    this.#database.setAuthorizer(this.#authorize)
  }

  /** Compiles one statement for a subject. Its tables are noted. */
  prepare(sql: string, subject: Subject | undefined, tables: Tables): StatementSync {
    this.tables = tables
    this.#isPreparing = true
    try {
      return this.for(subject, () => this.#database.prepare(sql))
    } finally {
      this.#isPreparing = false
    }
  }

  /** Runs a function while the subject is set. */
  for<A>(subject: Subject | undefined, f: () => A): A {
    const before = this.subject
    this.subject = subject
    try {
      return f()
    } finally {
      this.subject = before
    }
  }

  /**
   * Has SQLite forget the authorizer, before the database closes. It leads to the prepared statements, and each of them keeps its
   * database, in Node's own code: a cycle that the garbage collector does not see.
   */
  remove(): void {
    this.#database.setAuthorizer(null)
  }

  #calls(): void {
    if (this.tables !== undefined) this.tables.callsAggregate = true
    if (this.refusesAggregates) throw new AggregateCalled()
  }

  #note(action: number, first: string | null, second: string | null, schema: string | null): void {
    // Full-text tables ask that for their own use, and no query depends on it.
    if (!this.#isPreparing && action === SQLITE_PRAGMA && first === "data_version") return
    this.tables?.note(action, first, second, schema)
    if (!this.#isPreparing && action === SQLITE_READ) this.readWhileRunning.add(keyOf(first!, schema))
  }
}

const { SQLITE_ALTER_TABLE, SQLITE_ATTACH, SQLITE_DETACH, SQLITE_FUNCTION, SQLITE_PRAGMA, SQLITE_READ } = constants

/** Whether an action may be a demand, by its number. Most are none: there is one for every column that is read. */
const isNotable = new Uint8Array(64)

/** Whether an action drops something, by its number. */
const isDrop = new Uint8Array(64)

for (const action of [SQLITE_ALTER_TABLE, SQLITE_ATTACH, SQLITE_DETACH, SQLITE_FUNCTION, SQLITE_PRAGMA]) {
  isNotable[action] = 1
}
// Tables, views, triggers and indexes, temporary ones or not.
for (const [name, action] of Object.entries(constants)) {
  if (name.startsWith("SQLITE_DROP_")) isDrop[action] = 1
  if (name.startsWith("SQLITE_DROP_") || name.startsWith("SQLITE_CREATE_")) isNotable[action] = 1
}

const demandOf = (
  action: number,
  first: string | null,
  second: string | null,
  schema: string | null,
  source: string | null
): Demand | undefined => {
  switch (action) {
    case SQLITE_PRAGMA:
      return { kind: "pragma", name: first!.toLowerCase(), value: second, schema }
    case SQLITE_ATTACH:
      return { kind: "attach", file: first }
    case SQLITE_DETACH:
      return { kind: "detach", name: first }
    case SQLITE_FUNCTION:
      return recalls.has(second!.toLowerCase()) ? { kind: "recall", name: second!, source } : undefined
    case SQLITE_ALTER_TABLE:
      return first === "temp" ? { kind: "temporary", gone: second! } : undefined
    default:
      // For `create table temp.t`, SQLite reports an ordinary table. Only its schema says that it is temporary.
      if (schema !== "temp") return undefined
      return isDrop[action] === 1 ? { kind: "temporary", gone: first! } : { kind: "temporary" }
  }
}

/** Functions that return what the connection did before. */
const recalls: ReadonlySet<string> = new Set(["last_insert_rowid", "changes", "total_changes"])
