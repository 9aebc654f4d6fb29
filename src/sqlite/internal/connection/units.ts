/**
 * Units: transactions that this library begins and ends around work that runs in one step.
 *
 * A unit holds the work of one caller (`alone`) or of several callers (`shared`). In a shared unit, the work of each caller
 * can be undone separately.
 */
import type { StatementSync } from "node:sqlite"
import type { Recorder } from "../../../internal/pool/recorder.ts"
import { codeOfThrown, denied, failed, type Failure, isIntegerTooBig, primaryOf } from "../failures.ts"
import { type Demand, isSetting } from "../sql/demands.ts"
import type { SqlText } from "../sql/scanner.ts"
import { uncontrolledInFunction } from "../sql/statementKind.ts"
import type { Database } from "./database.ts"
import { DeferredKeys } from "./deferredKeys.ts"
import { FunctionFailure } from "./functions.ts"
import type { Observed } from "./observed.ts"

/** The number of shared units with a savepoint for each statement, after a failed statement has left a part of its work. */
const carefulUnits = 1000

/** Makes a `Failure` from an error that Node has thrown for one of the connection's own statements. */
export type FailureOf = (thrown: unknown, sql: string) => Failure

type Control = "begin immediate" | "commit" | "rollback" | `${"savepoint" | "release" | "rollback to"} effect_pool_unit`

export class Units {
  readonly #failureOf: FailureOf
  readonly #observed: Observed
  readonly #recorder: Recorder
  #database: Database
  #deferredKeys: DeferredKeys
  #controls: { [Name in Control]?: StatementSync } = {}
  #open: "alone" | "shared" | undefined = undefined
  #whyAlone: string | undefined = undefined
  /** Whether a failed statement may have left a part of its work. */
  #isPartLeft = false
  /** The number of further shared units in which each statement has a savepoint of its own. */
  #careful = 0

  constructor(database: Database, observed: Observed, recorder: Recorder, failureOf: FailureOf) {
    this.#database = database
    this.#observed = observed
    this.#recorder = recorder
    this.#deferredKeys = new DeferredKeys(database)
    this.#failureOf = failureOf
  }

  /** Starts over with a database that was opened again. */
  restart(database: Database): void {
    this.#database = database
    this.#deferredKeys = new DeferredKeys(database)
    this.#controls = {}
    this.#open = undefined
  }

  /** Whether a unit is open. If so, each statement has to be admitted. */
  get isOpen(): boolean {
    return this.#open !== undefined
  }

  /** Whether SQLite still has the transaction open. SQLite ends a transaction by itself after some failures. */
  get isIntact(): boolean {
    const { sqlite } = this.#database
    return sqlite.isOpen && sqlite.isTransaction
  }

  /** Why the work has to run alone. It is set if work in a shared unit tried something that would affect the others. */
  get whyAlone(): string | undefined {
    return this.#whyAlone
  }

  /**
   * Whether a failed statement may have left a part of its work. Outside a transaction, SQLite undoes a failed statement
   * completely. Inside a transaction, it does so only if it expected that the statement might fail.
   */
  get isPartLeft(): boolean {
    return this.#isPartLeft
  }

  /** Notes that a statement failed while it ran. */
  stopped(thrown: unknown): void {
    if (this.#open !== "shared") return
    if (this.#leavesNothing(thrown)) return
    this.#isPartLeft = true
    this.#careful = carefulUnits
  }

  #leavesNothing(thrown: unknown): boolean {
    if (thrown instanceof FunctionFailure) return !thrown.leavesPart
    // Node refuses an integer beyond 2^53 before it calls a function or an aggregate.
    if (isIntegerTooBig(thrown)) return !this.#database.functions.hasAggregates
    return isExpected(codeOfThrown(thrown))
  }

  /**
   * Runs a statement of a shared unit. If it fails, it leaves the same as if it had run alone, or `isPartLeft` is set. A
   * savepoint makes a small insert take nearly twice as long, so statements have one only after such a failure.
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

  /** Whether the last look has found foreign keys that are checked at the commit. */
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

  /** `pragma defer_foreign_keys` is about to be set. */
  deferAllKeys(): void {
    this.#deferredKeys.deferAll()
  }

  /** Has SQLite compile statements again that it has compiled for deferred foreign keys, before the next one runs. */
  recompile(): void {
    this.#deferredKeys.recompile()
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
    this.#recorder.begin("commit")
    try {
      this.#run("commit")
      this.#open = undefined
    } finally {
      this.#recorder.end()
      this.#observed.committed()
    }
  }

  /** Undoes all work of the unit. Throws if the transaction cannot be ended. */
  rollback(): void {
    this.#open = undefined
    this.#deferredKeys.forget()
    this.#observed.rolledBack()
    if (this.isIntact) this.#run("rollback")
  }

  /** Runs a part of the work of a transaction. If the part throws, only the part is undone. */
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
    // The work went on after a failed statement, as it would have done alone.
    this.#isPartLeft = false
    return value
  }

  /** Begins, rolls back to, or releases a savepoint of this library's own. */
  savepoint(verb: "savepoint" | "rollback to" | "release"): void {
    this.#run(`${verb} effect_pool_unit`)
  }

  /** Throws if a statement cannot run in a unit. */
  admit(operation: string, sql: string, text: SqlText): void {
    if (text.controlsTransaction) throw uncontrolledInFunction(sql, operation)
    if (!this.isIntact) throw lost(operation)
  }

  /**
   * Refuses a demand that would affect other callers of a shared unit. `whyAlone` is set, and all work runs again alone. Refuses a
   * pragma in a unit whose transaction SQLite has ended.
   */
  readonly admitDemand = (demand: Demand, operation: string, sql: string): void => {
    // SQLite runs a pragma while it prepares it, which is before `admit`.
    if (this.isOpen && demand.kind === "pragma" && isSetting(demand) && !this.isIntact) throw lost(operation)
    if (this.#open !== "shared" || demand.kind === "recall") return
    if (demand.kind === "pragma" && !isSetting(demand)) return
    this.#whyAlone = `${JSON.stringify(sql)} concerns the connection`
    throw denied(operation, sql, "it runs again by itself")
  }

  #run(control: Control): void {
    try {
      this.#database.functions.assertNone(control)
      const statement = this.#controls[control] ??= this.#database.prepareOwn(control)
      this.#database.authorizer.tables = undefined
      // The statement returns no rows. `get` is faster than `run`, which also reads the number of changes.
      statement.get()
    } catch (thrown) {
      throw this.#failureOf(thrown, control)
    }
  }
}

/**
 * Whether SQLite expects such a failure, so that a failed statement leaves nothing in a transaction. SQLite expects
 * failures of constraints, except CONSTRAINT_FUNCTION and CONSTRAINT_DATATYPE. RANGE comes before the statement runs.
 */
export const isExpected = (code: number | undefined): boolean =>
  code === undefined || (primaryOf(code) === 19 && code !== 1043 && code !== 3091) || primaryOf(code) === 25

/** The failure of work that goes on although SQLite has undone it so far. */
export const lost = (operation: string): Failure =>
  failed(
    operation,
    `${operation}: SQLite has ended the transaction after a failure, so that nothing of this function is stored: ` +
      "let that failure through"
  )
