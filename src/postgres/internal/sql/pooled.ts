/** What a pooler in transaction mode cannot keep, because each transaction may have another session. */
import { Dirt, nameOfDirt, type Text } from "./statementText.ts"

/** Why a statement is refused behind such a pooler, with the way that works. `undefined`: it may run. */
export const whyNotPooled = ({ asksSession, dirt }: Text, isInTransaction: boolean): string | undefined => {
  if (dirt !== Dirt.none) {
    const instead = insteads.find(([left]) => (dirt & left) !== 0)?.[1] ?? onServer
    return `it leaves ${nameOfDirt(dirt)}, and ${keepsNone}: ${instead}`
  }
  if (asksSession === "statement") return `it runs a prepared statement of its session, and ${keepsNone}: send its text`
  if (asksSession === "sequence" && !isInTransaction) {
    return "it asks for the last value that its session took from a sequence, and a pooler in transaction mode gives each " +
      "transaction another session: ask in the `transaction` that took it, or use `returning`"
  }
  return undefined
}

const keepsNone = "a pooler in transaction mode keeps no session"

const onServer = "run it with a pool on the server itself"

/** The way that works, by what the statement leaves. */
const insteads: ReadonlyArray<readonly [number, string]> = [
  [Dirt.settings, "use `set local` in a transaction, or set it for the role (alter role ... set ...)"],
  [Dirt.role, "use `set local role` in a transaction"],
  [Dirt.channels, "listen with a pool on the server itself"],
  [Dirt.locks, "use `lock` inside `transaction`, or `pg_advisory_xact_lock`"],
  [Dirt.temporaryTables, "make it with `on commit drop` in a transaction"],
  [Dirt.cursors, "use one without `hold` in a transaction, or `stream`"]
]
