/** The connection of `effect/sql` for statements outside of transactions, where reads may share connections. */
import type { PgConnection as Driver } from "@effect/sql-pg/PgConnection"
import { Effect, type Fiber } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import { OwnStep } from "../../../internal/runtime.ts"
import type { Lanes } from "../lanes/lanes.ts"
import { runOn } from "../lanes/read.ts"
import type { OwnWrites } from "./ownWrites.ts"
import { type Target, toConnection } from "./sqlConnection.ts"

/**
 * `target` runs what cannot share a connection. `writes` is set if there are replicas: a read that has to see a write of its fiber
 * asks its own connection whether that has it.
 */
export const sharedConnection = (lanes: Lanes, target: Target, writes: OwnWrites | undefined): Connection => {
  const exclusive = toConnection({
    ...target,
    use: (sql, f) => {
      const text = lanes.texts.read(sql)
      return lanes.sharingOf(text).isOnTrial
        ? target.use(sql, (connection) => lanes.timed(text, f(connection)))
        : target.use(sql, f)
    }
  })
  const objects = (isPrepared: boolean): Connection["execute"] => {
    const execute = isPrepared ? exclusive.execute : exclusive.executeUnprepared
    return (sql, params, transform) =>
      new Either<ReadonlyArray<object>>(
        lanes,
        writes,
        sql,
        params,
        (driver) =>
          Effect.map(
            driver.query(sql, params, isPrepared),
            ({ rows }) => transform === undefined ? rows : transform(rows)
          ),
        () => execute(sql, params, transform)
      )
  }
  const arrays = (isPrepared: boolean): Connection["executeValues"] => {
    const execute = isPrepared ? exclusive.executeValues : exclusive.executeValuesUnprepared
    return (sql, params) =>
      new Either(
        lanes,
        writes,
        sql,
        params,
        (driver) => driver.queryValues(sql, params, isPrepared),
        () => execute(sql, params)
      )
  }
  return {
    execute: objects(true),
    executeUnprepared: objects(false),
    executeValues: arrays(true),
    executeValuesUnprepared: arrays(false),
    executeRaw: (sql, params) =>
      new Either<unknown>(
        lanes,
        writes,
        sql,
        params,
        (driver) => driver.query(sql, params),
        () => exclusive.executeRaw(sql, params)
      ),
    executeStream: exclusive.executeStream
  }
}

/** A statement that chooses between a shared connection and one of its own, when it runs. */
class Either<A> extends OwnStep<A, SqlError, never> {
  readonly #lanes: Lanes
  readonly #writes: OwnWrites | undefined
  readonly #sql: string
  readonly #params: ReadonlyArray<unknown>
  readonly #shared: (driver: Driver) => Effect.Effect<A, SqlError>
  readonly #alone: () => Effect.Effect<A, SqlError>

  constructor(
    lanes: Lanes,
    writes: OwnWrites | undefined,
    sql: string,
    params: ReadonlyArray<unknown>,
    shared: (driver: Driver) => Effect.Effect<A, SqlError>,
    alone: () => Effect.Effect<A, SqlError>
  ) {
    super()
    this.#lanes = lanes
    this.#writes = writes
    this.#sql = sql
    this.#params = params
    this.#shared = shared
    this.#alone = alone
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, SqlError> {
    const lanes = this.#lanes
    const text = lanes.texts.read(this.#sql)
    const lane = this.#writes?.needed(fiber) === undefined ? lanes.laneFor(text, this.#params) : undefined
    return lane === undefined
      ? this.#alone()
      : runOn(lanes, lane, text, this.#shared, this.#alone)
  }
}
