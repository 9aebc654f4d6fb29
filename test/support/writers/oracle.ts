/** What callers have to be told who run one by one, and what is stored then: a plain handle of `node:sqlite` knows. */
import { DatabaseSync } from "node:sqlite"
import { type Operation, type Program, schema, type Step } from "./programs.ts"

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
  run: (sql: string) => unknown,
  codeOf: (thrown: unknown) => number | undefined
): ReadonlyArray<unknown> =>
  steps.map(({ isCaught, sql }) => {
    try {
      return run(sql)
    } catch (thrown) {
      if (!isCaught) throw thrown
      return caught(codeOf(thrown))
    }
  })

export class Oracle {
  readonly #database = new DatabaseSync(":memory:")
  /** Whether the code of the last failure depends on what a connection has prepared before: see `explained`. */
  #isCodeVague = false

  constructor(program: Program) {
    this.#database.exec(schema(program.hasDeferredKeys))
  }

  /** Answers a caller that runs now, after all before it. */
  answer(operation: Operation): Answer {
    this.#isCodeVague = false
    switch (operation.kind) {
      case "statement":
        return this.#failing(() => this.#rows(operation.sql))
      case "read":
        return { told: "rows", rows: "a read" }
      case "body":
        return this.#atomic(operation)
      case "transaction":
      case "lease":
        return withoutCode(this.#atomic(operation))
    }
  }

  #rows(sql: string): unknown {
    return this.#database.prepare(sql, { returnArrays: true }).all()
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

  #atomic({ ends, keys, steps }: Extract<Operation, { readonly ends: unknown }>): Answer {
    const database = this.#database
    database.exec("begin immediate")
    if (keys === "deferred") database.exec("pragma defer_foreign_keys = on")
    const answer = this.#failing(() => {
      const results = runSteps(steps, (sql) => {
        // After SQLite has ended the transaction, nothing more may be stored.
        if (!database.isTransaction) {
          this.#isCodeVague = true
          throw new Error("no transaction")
        }
        return database.prepare(sql, { returnArrays: true }).all()
      }, (thrown) => (thrown as { readonly errcode?: number }).errcode)
      if (ends === "throws") throw defect
      if (ends === "throws nothing") throw undefined
      // Where it has ended already, nothing is stored, and the library says so.
      if (!database.isTransaction) throw new Error("no transaction")
      database.exec("commit")
      return results
    })
    if (database.isTransaction) database.exec("rollback")
    return answer
  }

  /** All that is stored. */
  dump(): unknown {
    return dump((sql) => this.#rows(sql) as ReadonlyArray<ReadonlyArray<unknown>>)
  }

  close(): void {
    this.#database.close()
  }
}

/** Of these, the errors have other forms; it is enough to know that they failed. */
export const withoutCode = (answer: Answer): Answer =>
  answer.told === "failure" ? { told: "failure", code: undefined } : answer

/** The schema and all rows, in the order in which they were written. */
export const dump = (ask: (sql: string) => ReadonlyArray<ReadonlyArray<unknown>>): unknown => {
  const objects = ask(
    "select type, name, sql from sqlite_schema where name not like 'sqlite_stat%' order by type, name"
  )
  const tables = objects.filter(([type]) => type === "table").map(([, name]) => String(name)).filter((name) =>
    name !== "grouped"
  )
  return [
    objects,
    ask("pragma user_version"),
    ...tables.map((name) => [name, ask(`select rowid, * from ${name} order by rowid`)])
  ]
}
