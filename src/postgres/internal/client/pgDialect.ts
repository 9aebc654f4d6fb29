/** The statements that begin and end transactions in PostgreSQL: https://www.postgresql.org/docs/current/sql-begin.html. */
import { Effect } from "effect"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import type { Mode } from "../../../Transaction.ts"
import type { Dialect, OptionProblem } from "../../../Transactor.ts"
import { sessionOf } from "../connection/leased.ts"
import type { Session } from "../connection/session.ts"
import type { PgConnection } from "../contract/connection.ts"
import type { Isolation } from "../contract/transaction.ts"
import { commitOutcome, isCurable } from "../sqlState.ts"
import type { Reading } from "./reading.ts"

/** The options that only this dialect knows. */
export interface OwnOptions {
  readonly deferrable?: boolean | undefined
}

export const dialect: Dialect<PgConnection, Isolation, OwnOptions> = {
  isolations: ["read committed", "repeatable read", "serializable"],
  // With "read committed" it would not see one state.
  readOnlyIsolations: ["repeatable read", "serializable"],
  modeOf: (statement) => ({
    isolation: (/isolation\s+level\s+(repeatable\s+read|serializable)/i.exec(statement)?.[1]?.toLowerCase()
      .replace(/\s+/, " ") as Isolation | undefined) ?? "read committed",
    readOnly: /\bread\s+only\b/i.test(statement)
  }),
  begin: (connection, mode, statement, restore, own) =>
    restore(begin(sessionOf(connection), mode, statement, own.deferrable === true)),
  commit: (connection) => commit(sessionOf(connection)),
  rollback: (connection) => unlessGone(sessionOf(connection), "rollback"),
  savepoint: (connection, depth) => control(connection, `savepoint ${nameAt(depth)}`),
  release: (connection, depth) => control(connection, `release savepoint ${nameAt(depth)}`),
  rollbackTo: (connection, depth) => control(connection, `rollback to savepoint ${nameAt(depth)}`),
  isTransaction: (connection) => sessionOf(connection).isInTransaction,
  commitOutcome,
  isCurable,
  own: { fields: ["deferrable"], check: problemsOf }
}

/** The dialect where transactions that read begin on a replica: they wait there for what their fiber has written. */
export const dialectOver = (reading: Reading): typeof dialect => ({
  ...dialect,
  begin: (connection, mode, statement, restore, own) => {
    const begun = dialect.begin(connection, mode, statement, restore, own)
    if (!mode.readOnly) return begun
    return Effect.withFiber((fiber) => {
      const position = reading.writes.known(fiber)
      if (position === undefined) return begun
      return Effect.andThen(restore(reading.untilReached(connection, position)), begun)
    })
  }
})

function problemsOf(
  { deferrable }: OwnOptions,
  { isolation, readOnly }: Mode,
  outer: OwnOptions | undefined
): ReadonlyArray<OptionProblem> {
  const problem = (mustBe: string) => [{ field: "deferrable", value: deferrable, mustBe }]
  if (deferrable === undefined) return []
  if (typeof deferrable !== "boolean") return problem("true or false")
  if (outer !== undefined) {
    return deferrable === (outer.deferrable === true)
      ? []
      : problem(`${outer.deferrable === true}, as for the transaction around it`)
  }
  return deferrable && !(readOnly && isolation === "serializable")
    ? problem("left out, or readOnly true and isolation \"serializable\": PostgreSQL ignores it otherwise")
    : []
}

const begin = (
  session: Session,
  { isolation, readOnly }: Mode<Isolation>,
  statement: string | undefined,
  deferrable: boolean
): Effect.Effect<void, SqlError> => {
  const sql = statement ??
    `begin isolation level ${isolation} ${readOnly ? "read only" : "read write"}${deferrable ? " deferrable" : ""}`
  const begun = Effect.flatMap(session.control(sql), () =>
    session.isInTransaction
      ? Effect.void
      : Effect.fail(unexpected("begin", `begin: ${JSON.stringify(sql)} begins no transaction`)))
  // PostgreSQL fixes what a transaction sees at its first query. One that is deferrable waits there, maybe for long.
  return readOnly && !deferrable && statement === undefined ? Effect.andThen(begun, pin(session)) : begun
}

const pin = (session: Session): Effect.Effect<void, SqlError> =>
  Effect.catch(
    Effect.asVoid(session.control("select 1")),
    (error) => Effect.andThen(Effect.ignore(session.control("rollback")), Effect.fail(error))
  )

/** Commits. The server answers the commit of a transaction in which a statement has failed with a rollback. */
const commit = (session: Session): Effect.Effect<void, SqlError> =>
  Effect.flatMap(session.control("commit"), ({ command }) =>
    command === "ROLLBACK"
      ? Effect.fail(unexpected(
        "commit",
        "a statement of the transaction has failed, so PostgreSQL has rolled the transaction back; to go on after a failure, " +
          "run what may fail in a transaction inside this one"
      ))
      : Effect.void)

const control = (connection: PgConnection, sql: string): Effect.Effect<void, SqlError> =>
  Effect.asVoid(sessionOf(connection).control(sql))

/** With its session, the server has rolled the transaction back already, or will when it notices. */
const unlessGone = (session: Session, sql: string): Effect.Effect<void, SqlError> =>
  Effect.suspend(() => {
    if (session.isAlive) return Effect.asVoid(session.control(sql))
    session.forgetTransaction()
    return Effect.void
  })

const unexpected = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new UnknownError({ cause: new Error(message), message, operation }) })

const nameAt = (depth: number): string => `effect_pool_${depth}`
