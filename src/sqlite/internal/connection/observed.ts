/**
 * What an observer has to know of one connection: which tables were committed here, what queries have read, and whether
 * other connections may have committed. While nobody observes, only the tables of statements are known.
 */
import type { StatementSync } from "node:sqlite"
import { quoteName } from "../sql/demands.ts"
import { Changes, type Reads, type Tables } from "../sql/tables.ts"
import type { Database } from "./database.ts"
import type { Prepared } from "./preparedStatements.ts"
import { readsOf } from "./reads.ts"

/** Gets the changes of each commit, in the step of the commit. It may also get changes that were rolled back. */
export type OnCommit = (changes: Changes) => void

/** The statements of one query. */
export type Collected = Set<Tables>

export class Observed {
  readonly #isShared: boolean
  #database: Database
  #onCommit: OnCommit | undefined = undefined
  /** The changes since the last commit. */
  #pending = new Changes()
  /** The number of cursors whose statement writes. SQLite does not commit before they have ended. */
  #openWrites = 0
  #collected: Collected | undefined = undefined
  /** The statements that ask for the version of each database, by its name. Not set before the first question. */
  #questions: ReadonlyMap<string, StatementSync> | undefined = undefined
  /** The last versions, by the names of the databases. */
  #versions = new Map<string, unknown>()

  /** `isShared` says that queries run on this connection too, where they see its temporary tables. */
  constructor(database: Database, isShared: boolean) {
    this.#database = database
    this.#isShared = isShared
  }

  /** Starts again with a database that was opened again. */
  restart(database: Database): void {
    this.#database = database
    this.rolledBack()
    this.#openWrites = 0
    this.#collected = undefined
    this.#questions = undefined
    this.#versions.clear()
  }

  /** Reports the commits from now on, also of what is not committed yet; with `undefined`, reports nothing. */
  watch(onCommit: OnCommit | undefined): void {
    this.#onCommit = onCommit
    this.#pending = new Changes()
    if (onCommit !== undefined && !this.#isCommitted) this.#pending.add(Changes.unknown())
  }

  /** A statement with these tables is about to run. */
  runs(tables: Tables): void {
    this.#database.authorizer.tables = tables
    this.#collected?.add(tables)
  }

  /** A statement that may write has run, or has failed. */
  ran(tables: Tables): void {
    // The attached databases may be others now.
    if (tables.changesSchema) this.#questions = undefined
    if (this.#onCommit === undefined) return
    this.#pending.addTables(tables, this.#isShared)
    if (!this.#isCommitted) return
    if (isRollback(tables)) this.rolledBack()
    else this.committed()
  }

  /** A script has run, or has failed after some of its statements. */
  ranScript(tables: Tables): void {
    this.#collected?.add(tables)
    if (tables.changesSchema) this.#questions = undefined
    if (this.#onCommit === undefined) return
    this.#pending.addTables(tables, this.#isShared)
    if (this.#isCommitted) return isRollback(tables) ? this.rolledBack() : this.committed()
    // It may have ended one transaction and begun another.
    if (tables.control === "other") this.#report(this.#pending.copy())
  }

  /** A cursor was opened. Its statement runs with each read of the cursor. */
  opened({ isNoted }: Prepared): void {
    if (isNoted) this.#openWrites++
  }

  /** The statement of a cursor has ended. */
  closed({ isNoted, tables }: Prepared): void {
    if (!isNoted) return
    this.#openWrites--
    this.ran(tables)
  }

  /** A transaction was committed, or it is not known whether it was. */
  committed(): void {
    if (this.#onCommit === undefined) return
    this.#report(this.#pending)
    this.#pending = new Changes()
  }

  rolledBack(): void {
    if (!this.#pending.isEmpty) this.#pending = new Changes()
  }

  /** Anything may have been committed, and anything may have been written by a transaction that is open. */
  anythingHappened(): void {
    if (this.#onCommit === undefined) return
    this.#pending.add(Changes.unknown())
    if (this.#isCommitted) this.committed()
    else this.#report(this.#pending.copy())
  }

  /** Collects the statements that run from now on. */
  collect(): Collected {
    return this.#collected = new Set()
  }

  /** Stops collecting, and returns what the statements have read. Throws the errors of Node. */
  reads(collected: Collected): Reads {
    this.forget(collected)
    return readsOf(this.#database, collected)
  }

  /** Stops collecting, unless another collection has begun. */
  forget(collected: Collected): void {
    if (this.#collected === collected) this.#collected = undefined
  }

  /**
   * Whether another connection may have committed since the last question. Returns `undefined` if that cannot be known now,
   * because this connection sees one state only. The first answer is yes. Throws the errors of Node.
   */
  haveOthersCommitted(): boolean | undefined {
    if (!this.#isCommitted) return undefined
    return this.#database.authorizer.for(undefined, () => this.#haveVersionsChanged())
  }

  #haveVersionsChanged(): boolean {
    this.#questions ??= this.#ask()
    let isChanged = false
    for (const [schema, question] of this.#questions) {
      let version: unknown
      try {
        version = (question.get() as unknown as ReadonlyArray<unknown>)[0]
      } catch {
        // Another process has locked this database. It is asked the next time.
        continue
      }
      if (this.#versions.get(schema) === version) continue
      this.#versions.set(schema, version)
      isChanged = true
    }
    return isChanged
  }

  #ask(): ReadonlyMap<string, StatementSync> {
    const schemas = this.#database.ask("select name from pragma_database_list where name <> 'temp'")
    return new Map(schemas.map(([name]) => {
      const schema = String(name)
      return [schema, this.#database.prepareOwn(`pragma ${quoteName(schema)}.data_version`)]
    }))
  }

  #report(changes: Changes): void {
    if (!changes.isEmpty) this.#onCommit?.(changes)
  }

  /** Whether no transaction is open, so that all changes are committed. */
  get #isCommitted(): boolean {
    const { sqlite } = this.#database
    return this.#openWrites === 0 && !(sqlite.isOpen && sqlite.isTransaction)
  }
}

/** Whether other connections have committed since the last question. What cannot be asked now is asked the next time. */
export const haveOthersCommitted = (observed: Observed): boolean => {
  try {
    return observed.haveOthersCommitted() === true
  } catch {
    // Another process has a lock, or the connection is closed. Statements of callers meet that too, and report it.
    return false
  }
}

/** Whether all that a statement or a script has done is to roll a transaction back. */
const isRollback = (tables: Tables): boolean => tables.control === "rollback" && !tables.isWriting
