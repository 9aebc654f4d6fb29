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

/** `millis` is the deadline of each statement. */
export const make = (millis: number): Dialect<PgConnection, Isolation, OwnOptions> => ({
  isolations: ["read committed", "repeatable read", "serializable"],
  // With "read committed" it would not see one state.
  readOnlyIsolations: ["repeatable read", "serializable"],
  modeOf: (statement) => ({
    isolation: (/isolation\s+level\s+(repeatable\s+read|serializable)/i.exec(statement)?.[1]?.toLowerCase()
      .replace(/\s+/, " ") as Isolation | undefined) ?? "read committed",
    readOnly: /\bread\s+only\b/i.test(statement)
  }),
  begin: (connection, mode, statement, restore, own) =>
    restore(begin(sessionOf(connection), mode, statement, own.deferrable === true, millis)),
  commit: (connection) => commit(sessionOf(connection), millis),
  rollback: (connection) => rollback(sessionOf(connection), millis),
  savepoint: (connection, depth) => control(connection, millis, "savepoint", `savepoint ${nameAt(depth)}`),
  release: (connection, depth) => control(connection, millis, "release", `release savepoint ${nameAt(depth)}`),
  rollbackTo: (connection, depth) =>
    control(connection, millis, "rollback to savepoint", `rollback to savepoint ${nameAt(depth)}`),
  isTransaction: (connection) => sessionOf(connection).isInTransaction,
  commitOutcome,
  isCurable,
  own: { fields: ["deferrable"], check: problemsOf }
})

/**
 * The dialect of a database with replicas. Transactions that only read wait on their replica for what their fiber has written;
 * the commit of the others is a write.
 */
export const over = (reading: Reading, millis: number): ReturnType<typeof make> => {
  const dialect = make(millis)
  /** The sessions whose last transaction only read. */
  const onlyRead = new WeakSet<Session>()
  return {
    ...dialect,
    begin: (connection, mode, statement, restore, own) => {
      if (mode.readOnly) onlyRead.add(sessionOf(connection))
      else onlyRead.delete(sessionOf(connection))
      const begun = dialect.begin(connection, mode, statement, restore, own)
      if (!mode.readOnly) return begun
      return Effect.withFiber((fiber) => {
        const position = reading.writes.known(fiber)
        if (position === undefined) return begun
        return Effect.flatMap(
          restore(reading.reached(connection, position, millis)),
          (isThere) =>
            isThere ? begun : Effect.fail(
              reading.tooLate(
                position,
                millis,
                "a transaction that only reads waits for one (controlTimeout): run it without readOnly, or later"
              )
            )
        )
      })
    },
    commit: (connection) => {
      const committed = dialect.commit(connection)
      return onlyRead.has(sessionOf(connection))
        ? committed
        : Effect.withFiber((fiber) => reading.writes.wrote(fiber, committed))
    }
  }
}

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
  deferrable: boolean,
  millis: number
): Effect.Effect<void, SqlError> => {
  const sql = statement ?? (deferrable ? `${beginOf[isolation].reading} deferrable` : beginOf[isolation][
    readOnly ? "reading" : "writing"
  ])
  const begun = Effect.flatMap(session.controlWithin("begin", sql, millis), () =>
    session.isInTransaction
      ? Effect.void
      : Effect.fail(unexpected("begin", `begin: ${JSON.stringify(sql)} begins no transaction`)))
  // PostgreSQL fixes what a transaction sees at its first query. One that is deferrable waits there, maybe for long.
  return readOnly && !deferrable && statement === undefined ? Effect.andThen(begun, pin(session, millis)) : begun
}

/** The statements that begin a transaction. They are not put together for each one. */
const beginOf = {
  "read committed": {
    reading: "begin isolation level read committed read only",
    writing: "begin isolation level read committed read write"
  },
  "repeatable read": {
    reading: "begin isolation level repeatable read read only",
    writing: "begin isolation level repeatable read read write"
  },
  serializable: {
    reading: "begin isolation level serializable read only",
    writing: "begin isolation level serializable read write"
  }
} satisfies Record<Isolation, unknown>

const pin = (session: Session, millis: number): Effect.Effect<void, SqlError> =>
  Effect.catch(
    Effect.asVoid(session.controlWithin("begin", "select 1", millis)),
    (error) => Effect.andThen(Effect.ignore(session.controlWithin("rollback", "rollback", millis)), Effect.fail(error))
  )

/** Commits. The server answers the commit of a transaction in which a statement has failed with a rollback. */
const commit = (session: Session, millis: number): Effect.Effect<void, SqlError> =>
  Effect.flatMap(session.controlWithin("commit", "commit", millis), ({ command }) =>
    command === "ROLLBACK"
      ? Effect.fail(unexpected(
        "commit",
        "a statement of the transaction has failed, so PostgreSQL has rolled the transaction back; to go on after a failure, " +
          "run what may fail in a transaction inside this one"
      ))
      : Effect.void)

const control = (
  connection: PgConnection,
  millis: number,
  operation: string,
  sql: string
): Effect.Effect<void, SqlError> => Effect.asVoid(sessionOf(connection).controlWithin(operation, sql, millis))

/** With its session, the server has rolled the transaction back already, or will when it notices. */
const rollback = (session: Session, millis: number): Effect.Effect<void, SqlError> =>
  Effect.suspend(() => {
    if (session.isAlive) return Effect.asVoid(session.controlWithin("rollback", "rollback", millis))
    session.forgetTransaction()
    return Effect.void
  })

const unexpected = (operation: string, message: string): SqlError =>
  new SqlError({ reason: new UnknownError({ cause: new Error(message), message, operation }) })

const nameAt = (depth: number): string => `effect_pool_${depth}`
