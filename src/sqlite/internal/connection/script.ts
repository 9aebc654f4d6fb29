/** Runs the scripts of callers. */
import type { Recorder } from "../../../internal/pool/recorder.ts"
import { invalidInput } from "../failures.ts"
import type { Demand } from "../sql/demands.ts"
import * as SqlText from "../sql/scanner.ts"
import { Tables } from "../sql/tables.ts"
import type { Database } from "./database.ts"
import type { Observed } from "./observed.ts"
import { readSql } from "./preparedStatements.ts"
import type { Session } from "./session.ts"
import type { Units } from "./units.ts"
import { mayLeavePart, whole } from "./whole.ts"

/** How far a script has run: the number of its characters that are done. */
export interface Progress {
  done: number
  /** Whether it ends before its next statement. Default: never. */
  readonly isStopped?: (() => boolean) | undefined
}

/** The parts of a connection that have to know of a script. */
export interface Parts {
  readonly database: Database
  readonly session: Session
  readonly observed: Observed
  readonly units: Units
  readonly recorder: Recorder
  /** Throws if the script must not run here. */
  readonly admit: (text: SqlText.SqlText) => void
}

/**
 * Runs a script. With `progress`, it begins after the statements that are done, and notes each statement that it
 * runs. Throws the errors of Node, or a `Failure` if a statement makes a demand that is refused.
 */
export const runScript = (parts: Parts, operation: string, script: string, progress?: Progress): void =>
  parts.recorder.runSync(script, () => runNoted(parts, operation, script, progress))

const runNoted = (parts: Parts, operation: string, script: string, progress: Progress | undefined): void => {
  const text = readSql(operation, script)
  if (text.placeholders.length > 0) throw invalidInput(operation, `${operation}: a script takes no parameters`)
  parts.admit(text)
  const { database } = parts
  const isCareful = mayLeavePart(database, script)
  if (!isCareful && (progress === undefined || text.statements === 1)) return run(parts, operation, script, false)
  let done = progress?.done ?? 0
  for (const end of text.ends) {
    if (end <= done) continue
    if (progress?.isStopped?.() === true) return
    const sql = script.slice(done, end)
    run(
      parts,
      operation,
      sql,
      isCareful && database.sqlite.isTransaction && !SqlText.read(sql).controlsTransaction
    )
    done = end
    if (progress !== undefined) progress.done = done
  }
}

const run = (
  { database, observed, session, units }: Parts,
  operation: string,
  script: string,
  mustBeWhole: boolean
): void => {
  const demands: Array<Demand> = []
  const tables = new Tables()
  const work = () =>
    database.script(script, {
      demanded: (demand) => {
        session.admit(demand, operation, script, false)
        demands.push(demand)
      }
    }, tables)
  try {
    if (mustBeWhole) whole(database, units, work)
    else work()
  } finally {
    // If a statement fails, the statements before it have had their effect.
    if (demands.length > 0 && database.sqlite.isOpen) session.done(demands)
    observed.ranScript(tables)
  }
}
