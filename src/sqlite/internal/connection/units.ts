/**
 * Units: transactions around work that runs in one step, begun and ended by this library.
 *
 * A unit is the work of one caller (`alone`), or of several (`shared`), each of which may be undone by itself.
 */
import type { SqlError } from "effect/sql/SqlError"
import type { StatementSync } from "node:sqlite"
import { codeOfThrown, denied, failed, primaryOf } from "../errors.ts"
import { type Demand, isSetting } from "../sql/demands.ts"
import type { SqlText } from "../sql/scanner.ts"
import type { Database } from "./database.ts"
import { DeferredKeys } from "./deferredKeys.ts"

/** For so many shared units after a statement of which a part was left, each statement has a savepoint of its own. */
const carefulUnits = 1000

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
  /** Whether a statement has failed of which a part may be left. */
  #isPartLeft = false
  /** In how many shared units more each statement has a savepoint of its own. */
  #careful = 0

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

  /**
   * Whether a part of a statement that has failed may still be there. Alone, a statement that fails is undone as a whole. In
   * a transaction, SQLite undoes what it has done only if it expected that the statement might fail.
   */
  get isPartLeft(): boolean {
    return this.#isPartLeft
  }

  /** Notes that a statement has failed while it ran. */
  stopped(thrown: unknown): void {
    if (this.#open !== "shared") return
    const code = codeOfThrown(thrown)
    if (code === undefined || isExpected(code)) return
    this.#isPartLeft = true
    this.#careful = carefulUnits
  }

  /**
   * Runs a statement of a shared unit. If it fails, what it leaves is what it would leave alone, or `isPartLeft` is set. A
   * savepoint for each would make a small insert take nearly twice as long, so there is one only after such a failure.
   */
  statement<C, A>(connection: C, work: (connection: C) => A): A {
    if (this.#careful === 0) return work(connection)
    this.savepoint("savepoint")
    try {
      return work(connection)
    } catch (thrown) {
      if (this.#isPartLeft && this.isIntact) this.savepoint("rollback to")
      this.#isPartLeft = false
      throw thrown
    } finally {
      if (this.isIntact) this.savepoint("release")
    }
  }

  /** Whether foreign keys were deferred when that was looked at last. */
  get hadDeferredKeys(): boolean {
    return this.#deferredKeys.wereThere
  }

  /** Whether a pragma defers all foreign keys until the end of the next transaction, even of one that is rolled back. */
  areKeysDeferred(): boolean {
    try {
      return this.#deferredKeys.areAllDeferred()
    } catch (thrown) {
      throw this.#failureOf(thrown, "pragma defer_foreign_keys")
    }
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
    this.#isPartLeft = false
    if (kind === "shared" && this.#careful > 0) this.#careful--
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
        this.#isPartLeft = false
      }
      throw thrown
    }
    if (this.isIntact) this.savepoint("release")
    // It went on after the failure of a statement, as it would have done alone.
    this.#isPartLeft = false
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

/**
 * Whether SQLite expects such a failure, and undoes the statement within a transaction: a constraint, but for CONSTRAINT_FUNCTION
 * and CONSTRAINT_DATATYPE; or RANGE, before the statement runs.
 */
const isExpected = (code: number): boolean =>
  (primaryOf(code) === 19 && code !== 1043 && code !== 3091) || primaryOf(code) === 25

/** The error for work that goes on although SQLite has undone what it did so far. */
export const lost = (operation: string): SqlError =>
  failed(
    operation,
    `${operation}: SQLite has ended the transaction after a failure, so that nothing of this function is stored: ` +
      "let that failure through"
  )
