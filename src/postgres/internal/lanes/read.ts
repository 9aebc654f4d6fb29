/** Runs one read on a shared connection. */
import type { PgConnection as Driver } from "@effect/sql-pg/PgConnection"
import { Cause, Effect, type Exit, type Fiber, Result } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { onExitWithin, OwnStep } from "../../../internal/runtime.ts"
import type { Text } from "../sql/statementText.ts"
import { isLost, isRefusedByReader, sqlStateOf, toSqlError } from "../sqlState.ts"
import type { Lane } from "./lane.ts"
import type { Lanes } from "./lanes.ts"

/** Runs a read on a lane. What the lane refuses or loses, or what takes too long there, runs on a connection of its own. */
export const runOn = <A>(
  lanes: Lanes,
  lane: Lane,
  text: Text,
  shared: (driver: Driver) => Effect.Effect<A, SqlError>,
  exclusive: () => Effect.Effect<A, SqlError>
): Effect.Effect<A, SqlError> =>
  Effect.catch(new OnLane(lanes, lane, text, shared), (error) => {
    const fate = fateOf(error, lane, lanes)
    return fate === "answered" || fate === "not sent" ? Effect.fail(toSqlError(error)) : exclusive()
  })

/** An effect that runs a read on a lane, and counts it. Its end is installed in the step in which it is sent. */
class OnLane<A> extends OwnStep<A, SqlError, never> {
  readonly #lanes: Lanes
  readonly #lane: Lane
  readonly #text: Text
  readonly #shared: (driver: Driver) => Effect.Effect<A, SqlError>

  constructor(lanes: Lanes, lane: Lane, text: Text, shared: (driver: Driver) => Effect.Effect<A, SqlError>) {
    super()
    this.#lanes = lanes
    this.#lane = lane
    this.#text = text
    this.#shared = shared
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, SqlError> {
    const lane = this.#lane
    const lanes = this.#lanes
    const text = this.#text
    const { session } = lane
    const sentAt = lanes.now()
    const number = lane.begin()
    lanes.numbers.sent++
    const query = this.#shared(lane.driver)
    const running = session.isMeasured ? session.recorded(text, query) : query
    return onExitWithin(running, fiber, (exit) => ended(lanes, lane, number, sentAt, text, exit))
  }
}

/** Counts the end of a read. */
const ended = (
  lanes: Lanes,
  lane: Lane,
  number: number,
  sentAt: number,
  text: Text,
  exit: Exit.Exit<unknown, SqlError>
): undefined => {
  const { numbers } = lanes
  const sharing = lanes.sharingOf(text)
  if (exit._tag === "Success") {
    numbers.answered++
    if (lane.answered(number, lanes.now() - sentAt)) sharing.heldUp()
    else sharing.wentWell()
    return
  }
  const failed = Cause.findError(exit.cause)
  const fate = Result.isSuccess(failed) ? fateOf(failed.success, lane, lanes) : "abandoned"
  switch (fate) {
    case "answered":
      numbers.answered++
      if (lane.answered(number, lanes.now() - sentAt)) sharing.heldUp()
      return
    case "not sent":
      numbers.answered++
      lane.abandoned(number)
      return
    case "abandoned":
      numbers.abandoned++
      if (lane.abandoned(number)) sharing.heldUp()
      return
    case "refused":
      numbers.refused++
      lane.answered(number, lanes.now() - sentAt)
      sharing.never()
      return
    case "late":
      numbers.late++
      lane.answered(number, lanes.now() - sentAt)
      sharing.heldUp()
      return
    case "lost":
      numbers.lost++
      // It may be the one that has ended the connection: a row that cannot be decoded, or one that is too large.
      if (lane.lost(number)) sharing.heldUp()
  }
}

/**
 * What has become of a read that failed on a lane:
 *
 * - `answered`: the error is that of its caller, and would come on any connection
 * - `not sent`: the same, and the server did not get it
 * - `refused`: the server would have to write for it, or cannot serve it there
 * - `late`: it passed the time limit of shared reads
 * - `lost`: its connection is lost
 */
type Fate = "answered" | "not sent" | "refused" | "late" | "lost"

const fateOf = (error: SqlError, lane: Lane, { isOwnTimeout }: Lanes): Fate => {
  if (!lane.session.isAlive || isLost(error)) return "lost"
  const state = sqlStateOf(error)
  if (state === undefined) return "not sent"
  if (isRefusedByReader(state)) return "refused"
  return state === "57014" && !isOwnTimeout ? "late" : "answered"
}
