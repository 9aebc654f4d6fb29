/** The statements that are refused because they could not have their effect, with the way that works. */
import type { SqlError } from "effect/sql/SqlError"
import { denied } from "../errors.ts"
import { whyNotPooled } from "../sql/pooled.ts"
import { Dirt, nameOfDirt, type Text } from "../sql/statementText.ts"

/** For a statement that has a connection of its own, and so no later statement: maybe behind a pooler in transaction mode. */
export const refusalAlone = (operation: string, text: Text, isPooled: boolean): SqlError | undefined => {
  const { control, dirt, isBlock, isLocal, sql } = text
  if (control !== undefined) return denied(operation, sql, controlled)
  if (isLocal) return denied(operation, sql, "it has an effect only inside a transaction: run it in `transaction`")
  const why = isPooled ? whyNotPooled(text, false) : undefined
  if (why !== undefined) return denied(operation, sql, why)
  // What a block leaves may be for its own statements. It is removed afterwards.
  return dirt === Dirt.none || isBlock ? undefined : denied(operation, sql, alone(dirt))
}

/** For a statement in a transaction. What it leaves in the session is removed after the transaction. */
export const refusalInTransaction = (operation: string, { control, sql }: Text): SqlError | undefined =>
  control === undefined ? undefined : denied(operation, sql, controlled)

const controlled =
  "transactions are begun and ended by `transaction` or `withTransaction`, or by hand on a connection from `write` or `reserve`"

const alone = (dirt: number): string => {
  const why = `it leaves ${nameOfDirt(dirt)}, which ends with its connection, here at once`
  return `${why}: ${insteads.find(([left]) => (dirt & left) !== 0)?.[1] ?? keepIt}`
}

const keepIt = "keep the connection with `write`"

/** The way that works, by what the statement leaves. */
const insteads: ReadonlyArray<readonly [number, string]> = [
  [
    Dirt.settings,
    "for all connections use `startupParameters`, for a transaction `set local`, for several statements `write`"
  ],
  [Dirt.channels, `use \`listen\` of the pool, which listens again after a lost connection, or ${keepIt}`],
  [Dirt.locks, `use \`lock\` of the pool, or ${keepIt}`]
]

/** For what needs a session, behind a pooler that gives each transaction another one. */
export const pooledListen =
  "a pooler in transaction mode keeps no session, so nobody would hear: listen with a pool on the server itself"

export const pooledLock =
  "a pooler in transaction mode keeps no session, so the lock would be that of another: take it inside `transaction`"
