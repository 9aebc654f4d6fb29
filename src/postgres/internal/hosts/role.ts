/** The question that tells whether a host is the primary, and how far it is. */
import type { Result } from "@effect/sql-pg/PgConnection"
import { Effect } from "effect"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import type { Session } from "../connection/session.ts"
import type { Position } from "../contract/hosts.ts"

/** What a host says of itself. */
export interface Answer {
  readonly isReplica: boolean
  /** The number of promotions in the history of its data, as far as it knows. */
  readonly timeline: number
  /** What a primary has written to its log, or a replica has replayed. */
  readonly position: bigint
}

// A replica knows of a promotion from the server that it follows, before its own data says so.
const question = `select s.replica as replica,
  case when s.replica then greatest(
      (select timeline_id from pg_control_checkpoint()), (select max(received_tli) from pg_stat_wal_receiver))
    else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int4 end as timeline,
  (case when s.replica then coalesce(pg_last_wal_replay_lsn(), '0/0') else pg_current_wal_lsn() end)::text as position
from (select pg_is_in_recovery() as replica) s`

/** Asks the host of a session. */
export const ask = (session: Session): Effect.Effect<Answer, SqlError> =>
  Effect.flatMap(
    rowOf(session, question, []),
    (row) => {
      const position = parse(String(row?.["position"]))
      return position === undefined
        ? Effect.fail(
          new SqlError({ reason: new UnknownError({ cause: row, message: "the host does not say its role" }) })
        )
        : Effect.succeed({ isReplica: row?.["replica"] === true, timeline: Number(row?.["timeline"]), position })
    }
  )

/** Whether the host of a session has all that was committed before a position. */
export const hasReached = (session: Session, position: Position): Effect.Effect<boolean, SqlError> =>
  Effect.map(
    rowOf(
      session,
      "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() >= $1::text::pg_lsn else true end as reached",
      [position]
    ),
    (row) => row?.["reached"] === true
  )

/** The position of a primary, with everything that was committed before the question. At its deadline the session is ended. */
export const positionOf = (session: Session, millis: number): Effect.Effect<Position, SqlError> =>
  Effect.map(
    rowOf(session, "select pg_current_wal_insert_lsn()::text as position", [], millis),
    (row) => String(row?.["position"])
  )

const rowOf = (
  session: Session,
  sql: string,
  params: ReadonlyArray<unknown>,
  millis = Infinity
): Effect.Effect<Readonly<Record<string, unknown>> | undefined, SqlError> =>
  Effect.map(
    session.run<Result, never>(
      "role",
      session.texts.read(sql),
      params,
      () => session.driver.query(sql, params),
      () => undefined,
      millis,
      "the question for the position"
    ),
    ({ rows }) => rows[0]
  )

/** The number of a position; `undefined` if the text is none. */
export const parse = (position: string): bigint | undefined => {
  const [, high, low] = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(position) ?? []
  return high === undefined ? undefined : BigInt(`0x${high}`) * 2n ** 32n + BigInt(`0x${low}`)
}

/** The later of two positions. */
export const later = (one: Position | undefined, other: Position): Position =>
  one !== undefined && (parse(one) ?? 0n) > (parse(other) ?? 0n) ? one : other
