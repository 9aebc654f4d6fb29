/** What callers have to be told who run one by one, and what is stored then: a plain handle of `node:sqlite` knows. */
import { DatabaseSync } from "node:sqlite"
import { type Inner, type Operation, type Program, schema, type Step } from "./programs.ts"

/** How a caller is answered. */
export type Answer =
  | { readonly told: "rows"; readonly rows: unknown }
  /** A failure with this code of SQLite; with none if it is one of the library. */
  | { readonly told: "failure"; readonly code: number | undefined }
  | { readonly told: "defect"; readonly defect: unknown }
  /** It has no part in what is stored. */
  | { readonly told: "interrupted" | "too late" }

export const defect = "thrown by a body"

/** What a step came to that failed, but was caught. */
const caught = (code: number | undefined) => ({ caught: code })

/** Runs the steps of a body with a function that throws errors from which `codeOf` reads the code. */
export const runSteps = (
  steps: ReadonlyArray<Step>,
  run: (step: Step) => unknown,
  codeOf: (thrown: unknown) => number | undefined
): ReadonlyArray<unknown> =>
  steps.map((step) => {
    try {
      return run(step)
    } catch (thrown) {
      if (!step.isCaught || thrown === defect || thrown === undefined) throw thrown
      return caught(codeOf(thrown))
    }
  })

export class Oracle {
  readonly #database = new DatabaseSync(":memory:")
  /** Whether the code of the last failure depends on what a connection has prepared before: see `explained`. */
  #isCodeVague = false
  readonly #lasts: boolean

  /** `lasts`: whether what callers set on their connection is there for all that come later. */
  constructor(program: Program, lasts = false) {
    this.#database.exec(schema(program.hasDeferredKeys))
    this.#lasts = lasts
  }

  /** Another process has changed the schema, if it could. */
  outside(sql: string): void {
    try {
      this.#database.exec(sql)
    } catch {
      // It could not.
    }
  }

  /** Answers a caller that runs now, after all before it. */
  answer(operation: Operation): Answer {
    this.#isCodeVague = false
    switch (operation.kind) {
      case "statement":
        return this.#failing(() => this.#rows(operation.sql))
      case "stream":
        return this.#failing(() => this.#rows(operation.sql).slice(0, 1))
      case "read":
        return { told: "rows", rows: "a read" }
      case "batch": {
        const steps = operation.all.map((sql) => ({ sql, isCaught: false }))
        return withoutCode(this.#atomic({ ...operation, kind: "transaction", steps, ends: "returns" }, true))
      }
      case "body":
        return this.#atomic(operation)
      case "transaction":
      case "lease":
        return withoutCode(this.#atomic(operation))
    }
  }

  #rows(sql: string): ReadonlyArray<ReadonlyArray<unknown>> {
    return this.#database.prepare(sql, { returnArrays: true }).all() as never
  }

  #failing(run: () => unknown): Answer {
    try {
      return { told: "rows", rows: run() }
    } catch (thrown) {
      if (thrown === defect || thrown === undefined) return { told: "defect", defect: thrown }
      return { told: "failure", code: (thrown as { readonly errcode?: number }).errcode }
    }
  }

  /**
   * The answer of a pool as the oracle would give it. After SQLite has ended a transaction, a statement is refused; but one that
   * cannot be compiled fails with the error of that, unless it was prepared earlier.
   */
  explained(answer: Answer): Answer {
    return this.#isCodeVague ? withoutCode(answer) : answer
  }

  #atomic(operation: Extract<Operation, { readonly ends: unknown }>, isBatch = false): Answer {
    const database = this.#database
    const areKeysOn = this.#rows("pragma foreign_keys")[0]![0]
    const answer = this.#failing(() => {
      for (const sql of operation.settings ?? []) database.exec(sql)
      if (operation.keys === "off") database.exec("pragma foreign_keys = off")
      database.exec("begin immediate")
      if (operation.keys === "deferred") database.exec("pragma defer_foreign_keys = on")
      const orphans = operation.keys === "off" ? this.#orphans() : []
      const results = this.#steps(operation, isBatch)
      // Where it has ended already, nothing is stored, and the library says so.
      if (!database.isTransaction) throw new Error("no transaction")
      if (operation.keys === "off" && isMore(this.#orphans(), orphans)) throw new Error("new orphans")
      database.exec("commit")
      return isBatch ? "a batch" : results
    })
    if (database.isTransaction) database.exec("rollback")
    if (operation.keys === "off") database.exec(`pragma foreign_keys = ${String(areKeysOn)}`)
    if (!this.#lasts) this.#reset()
    return answer
  }

  #steps({ ends, steps }: Inner | Extract<Operation, { readonly ends: unknown }>, isBatch: boolean): unknown {
    const database = this.#database
    const results = runSteps(steps, ({ inner, sql, way }) => {
      // After SQLite has ended the transaction, nothing more may be stored.
      if (!database.isTransaction) {
        this.#isCodeVague = true
        throw new Error("no transaction")
      }
      if (inner !== undefined) return this.#inner(inner)
      if (way === "script") {
        database.exec(sql)
        return "a script"
      }
      if (isBatch && database.prepare(sql).columns().length > 0) throw new Error("a batch has no rows")
      const rows = this.#rows(sql)
      return way === "first" ? rows.slice(0, 1) : rows
    }, (thrown) => (thrown as { readonly errcode?: number }).errcode)
    if (ends === "throws") throw defect
    if (ends === "throws nothing") throw undefined
    return results
  }

  #inner(inner: Inner): unknown {
    const database = this.#database
    database.exec("savepoint inner")
    try {
      const results = this.#steps(inner, false)
      if (!database.isTransaction) throw new Error("no transaction")
      database.exec("release inner")
      return results
    } catch (thrown) {
      if (database.isTransaction) database.exec("rollback to inner; release inner")
      throw thrown
    }
  }

  /** Each row that refers to a missing one. */
  #orphans(): ReadonlyArray<string> {
    return this.#rows("select \"table\", rowid from pragma_foreign_key_check").map(([table, rowid]) =>
      `${String(table)} ${String(this.#rows(`select p from main.${String(table)} where rowid = ${String(rowid)}`)[0])}`
    )
  }

  /** Undoes what a caller has set. */
  #reset(): void {
    const database = this.#database
    database.exec(`pragma foreign_keys = on; pragma defer_foreign_keys = off; pragma recursive_triggers = off;
      pragma ignore_check_constraints = off; pragma case_sensitive_like = off`)
    for (const [type, name] of this.#rows("select type, name from sqlite_temp_schema order by type = 'table'")) {
      database.exec(`drop ${String(type)} temp.${String(name)}`)
    }
    if (this.#rows("pragma database_list").some(([, name]) => name === "other")) database.exec("detach other")
  }

  /** All that is stored. */
  dump(): unknown {
    return dump((sql) => this.#rows(sql) as ReadonlyArray<ReadonlyArray<unknown>>)
  }

  close(): void {
    this.#database.close()
  }
}

/** Whether there is something in `now` that was not there `before`, or not so often. */
const isMore = (now: ReadonlyArray<string>, before: ReadonlyArray<string>): boolean => {
  const left = [...before]
  return now.some((one) => {
    const at = left.indexOf(one)
    if (at >= 0) left.splice(at, 1)
    return at < 0
  })
}

/** Of these, the errors have other forms; it is enough to know that they failed. */
export const withoutCode = (answer: Answer): Answer =>
  answer.told === "failure" ? { told: "failure", code: undefined } : answer

/** The schema and all rows, in the order in which they were written. */
export const dump = (ask: (sql: string) => ReadonlyArray<ReadonlyArray<unknown>>): unknown => {
  const objects = ask(
    "select type, name, sql from main.sqlite_schema where name not like 'sqlite_stat%' order by type, name"
  )
  const tables = objects.filter(([type]) => type === "table").map(([, name]) => String(name)).filter((name) =>
    name !== "grouped"
  )
  return [
    objects,
    ask("pragma user_version"),
    ...tables.map((name) => [name, ask(`select rowid, * from main.${name} order by rowid`)])
  ]
}
