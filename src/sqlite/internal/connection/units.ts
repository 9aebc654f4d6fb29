/**
 * Units: transactions around work that runs in one step, begun and ended by this library.
 *
 * A unit is the work of one caller (`alone`), or of several (`shared`), each of which may be undone by itself.
 */
import type { SqlError } from "effect/sql/SqlError"
import type { StatementSync } from "node:sqlite"
import { denied, failed } from "../errors.ts"
import { type Demand, isSetting } from "../sql/demands.ts"
import type { SqlText } from "../sql/scanner.ts"
import type { Database } from "./database.ts"
import { DeferredKeys } from "./deferredKeys.ts"

/** Makes a `SqlError` of what Node has thrown over a statement of the connection's own. */
export type FailureOf = (thrown: unknown, sql: string) => SqlError

type Control = "begin immediate" | "commit" | "rollback" | `${"savepoint" | "release" | "rollback to"} effect_pool_unit`

export class Units {
  readonly #failureOf: FailureOf
  #database: Database
  #deferredKeys: DeferredKeys
  #controls: { [Name in Control]?: StatementSync } = {}
  #open: "alone" | "shared" | undefined = undefined
  #whyAlone: string | undefined = undefined

  constructor(database: Database, failureOf: FailureOf) {
    this.#database = database
    this.#deferredKeys = new DeferredKeys(database)
    this.#failureOf = failureOf
  }

  /** Begins again on a database that was opened anew. */
  restart(database: Database): void {
    this.#database = database
    this.#deferredKeys = new DeferredKeys(database)
    this.#controls = {}
    this.#open = undefined
  }

  /** Whether a unit is open, so that statements have to be admitted. */
  get isOpen(): boolean {
    return this.#open !== undefined
  }

  /** Whether SQLite still has the transaction open. It ends one by itself after some failures. */
  get isIntact(): boolean {
    const { sqlite } = this.#database
    return sqlite.isOpen && sqlite.isTransaction
  }

  /** Why work in a shared unit cannot share it, if it has tried to do what would concern the others. */
  get whyAlone(): string | undefined {
    return this.#whyAlone
  }

  /** Whether foreign keys were deferred when that was looked at last. */
  get hadDeferredKeys(): boolean {
    return this.#deferredKeys.wereThere
  }

  /** Whether there are foreign keys that are checked at the commit. */
  hasDeferredKeys(): boolean {
    try {
      return this.#deferredKeys.areThere()
    } catch (thrown) {
      throw this.#failureOf(thrown, "pragma schema_version")
    }
  }

  begin(kind: "alone" | "shared"): void {
    this.#run("begin immediate")
    this.#open = kind
    this.#whyAlone = undefined
  }

  /** Commits. If that fails, the unit is still open. */
  commit(): void {
    this.#run("commit")
    this.#open = undefined
  }

  /** Undoes everything. Throws if the transaction cannot be ended. */
  rollback(): void {
    this.#open = undefined
    this.#deferredKeys.forget()
    if (this.isIntact) this.#run("rollback")
  }

  /** Runs a part of what a transaction does, and undoes that alone if it throws. */
  part<A>(work: () => A): A {
    this.savepoint("savepoint")
    let value: A
    try {
      value = work()
    } catch (thrown) {
      if (this.isIntact) {
        this.savepoint("rollback to")
        this.savepoint("release")
      }
      throw thrown
    }
    if (this.isIntact) this.savepoint("release")
    return value
  }

  /** Begins a savepoint of this library's own, goes back to it, or ends it. */
  savepoint(verb: "savepoint" | "rollback to" | "release"): void {
    this.#run(`${verb} effect_pool_unit`)
  }

  /** Throws if a statement cannot run in a unit. */
  admit(operation: string, sql: string, text: SqlText): void {
    if (text.controlsTransaction) {
      throw denied(
        operation,
        sql,
        "the function given to writeSync is a transaction, which is committed when it returns and undone when it throws: " +
          "use write to begin and end transactions by hand"
      )
    }
    if (!this.isIntact) throw lost(operation)
  }

  /** Refuses, in a shared unit, what would concern the other callers. They are told, and the work runs again alone. */
  readonly admitDemand = (demand: Demand, operation: string, sql: string): void => {
    if (this.#open !== "shared" || demand.kind === "recall") return
    if (demand.kind === "pragma" && !isSetting(demand)) return
    this.#whyAlone = `${JSON.stringify(sql)} concerns the connection`
    throw denied(operation, sql, "it runs again by itself")
  }

  #run(control: Control): void {
    try {
      const statement = this.#controls[control] ??= this.#database.prepareOwn(control)
      // It returns no rows. To be told what `run` tells costs more.
      statement.get()
    } catch (thrown) {
      throw this.#failureOf(thrown, control)
    }
  }
}

/** The error for work that goes on although SQLite has undone what it did so far. */
export const lost = (operation: string): SqlError =>
  failed(
    operation,
    `${operation}: SQLite has ended the transaction after a failure, so that nothing of this function is stored: ` +
      "let that failure through"
  )
