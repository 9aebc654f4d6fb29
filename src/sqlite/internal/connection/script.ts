/** Runs the scripts of callers. */
import type { Demand } from "../sql/demands.ts"
import { Tables } from "../sql/tables.ts"
import type { Database } from "./database.ts"
import type { Observed } from "./observed.ts"
import type { Session } from "./session.ts"

/** The parts of a connection that have to know of a script. */
export interface Parts {
  readonly database: Database
  readonly session: Session
  readonly observed: Observed
}

/** Runs a script. Throws the errors of Node, or a `SqlError` if a statement makes a demand that is refused. */
export const runScript = ({ database, observed, session }: Parts, operation: string, script: string): void => {
  const demands: Array<Demand> = []
  const tables = new Tables()
  try {
    database.script(script, {
      demanded: (demand) => {
        session.admit(demand, operation, script, false)
        demands.push(demand)
      }
    }, tables)
  } finally {
    // If a statement fails, the statements before it have had their effect.
    if (demands.length > 0 && database.sqlite.isOpen) session.done(demands)
    observed.ranScript(tables)
  }
}
