/** The target of statements outside of transactions where reads may share connections. */
import type { PgConnection as Driver } from "@effect/sql-pg/PgConnection"
import { Effect, type Fiber, type Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type * as Targets from "../../../internal/sqlClient/target.ts"
import type { Results, Running, Way } from "../../../internal/sqlClient/target.ts"
import type { Row } from "../contract/connection.ts"
import type { Lanes } from "../lanes/lanes.ts"
import { runOn } from "../lanes/read.ts"
import type { Text } from "../sql/statementText.ts"
import type { OwnWrites } from "./ownWrites.ts"
import type { Query, Routed } from "./targets.ts"

/**
 * Runs each read on a shared connection if it may run there, and all other statements on connections of their own.
 *
 * `writes` is set if there are replicas: a read that has to see a write of its fiber asks its own connection whether that has it.
 */
export class Shared implements Targets.Target<Text> {
  readonly #lanes: Lanes
  readonly #exclusive: Routed
  readonly #writes: OwnWrites | undefined

  constructor(lanes: Lanes, exclusive: Routed, writes: OwnWrites | undefined) {
    this.#lanes = lanes
    this.#exclusive = exclusive
    this.#writes = writes
  }

  run<W extends Way>(fiber: Fiber.Fiber<unknown, unknown>, query: Query, way: W, isPrepared = true): Running<W> {
    const lanes = this.#lanes
    const { params, text } = query
    const lane = this.#writes?.needed(fiber) === undefined ? lanes.laneFor(text, params) : undefined
    if (lane === undefined) return this.#exclusive.run(fiber, query, way, isPrepared)
    return runOn(
      lanes,
      lane,
      text,
      onDriver(query, way, isPrepared),
      () => this.#exclusive.run(fiber, query, way, isPrepared)
    )
  }

  stream(query: Query): Stream.Stream<Row, SqlError> {
    return this.#exclusive.stream(query)
  }
}

const onDriver =
  <W extends Way>({ params, text: { sql } }: Query, way: W, isPrepared: boolean) => (driver: Driver): Running<W> => {
    const running: Effect.Effect<unknown, SqlError> = way === "arrays"
      ? driver.queryValues(sql, params, isPrepared)
      : way === "raw"
      ? driver.query(sql, params, isPrepared)
      : Effect.map(driver.query(sql, params, isPrepared), ({ rows }) => rows)
    return running as Effect.Effect<Results[W], SqlError>
  }
