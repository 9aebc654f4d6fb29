/**
 * A service under load: rows added by 1, 10 and 100 users at a time, and 100 users who mostly read.
 *
 * Everybody makes the same promise about a loss of power, and what was written is counted by a plain second connection.
 */
import assert from "node:assert/strict"
import type { Service } from "../contenders/sqlite/client.ts"
import { keyOf, type Synchronous } from "../contenders/sqlite/database.ts"
import type { SqliteContenders } from "../contenders/sqlite/index.ts"
import type { Witnessed } from "../contenders/sqlite/services.ts"
import { type Case, type Round, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { wallClock } from "../harness/watch.ts"
import { always, oneInTen, useService, type Writes } from "../workloads/service.ts"
import { sqliteContestant } from "./sqliteContestant.ts"

export const serviceCases = (who: SqliteContenders, effort: Effort): ReadonlyArray<Case> => {
  const writes = (synchronous: Synchronous, rows: number): Omit<Case, "rounds" | "warmups" | "processes"> => ({
    name: `writes-${synchronous}`,
    title: `1, 10 and 100 users who add rows, one after the other, synchronous = ${synchronous}`,
    unit: "ns per row",
    reference: "@effect/sql-sqlite-node: sql",
    contestants: who.services(synchronous).flatMap((contender) =>
      effort.loads([1, 10, 100]).map((users) =>
        sqliteContestant(contender, {
          load: String(users),
          expected: served(rows),
          round: (service) => serve(service, users, rows / users, always)
        })
      )
    )
  })
  const mixed = (synchronous: Synchronous, each: number): Omit<Case, "rounds" | "warmups" | "processes"> => ({
    name: `mixed-${synchronous}`,
    title: `100 users, 9 reads by key for each row added, synchronous = ${synchronous}`,
    unit: "ns per operation",
    reference: "@effect/sql-sqlite-node: sql",
    contestants: who.services(synchronous).map((contender) =>
      sqliteContestant(contender, {
        expected: served(100 * each),
        round: (service) => serve(service, 100, each, oneInTen)
      })
    )
  })
  return [
    { ...writes("full", effort.isShort ? 10 : 200), ...effort.rounds(8, 3) },
    { ...writes("normal", effort.isShort ? 10 : 1000), ...effort.rounds(8, 5) },
    { ...mixed("full", effort.isShort ? 1 : 20), ...effort.rounds(8, 5) },
    { ...mixed("normal", effort.isShort ? 1 : 20), ...effort.rounds(10, 8) }
  ]
}

/** Fails if anything but the right rows was read, or written. */
export const serve = async (
  service: Witnessed<Service>,
  users: number,
  each: number,
  writes: Writes
): Promise<Round> => {
  const turns = Array.from({ length: users * each }, (_, turn) => turn)
  const watch = wallClock()
  watch.start()
  const sum = await useService(service, users, each, writes)
  watch.stop()
  const added = service.added()
  const written = turns.filter(writes)
  const read = turns.filter((turn) => !writes(turn))
  assert.equal(sum, total(read.map((turn) => keyOf(turn) * 2)), "something else was read")
  assert.deepEqual(added, { rows: written.length, sum: total(written) }, "something else was written")
  return { cost: watch.nanos() / turns.length, counts: served(added.rows + read.length) }
}

const total = (numbers: ReadonlyArray<number>): number => numbers.reduce((sum, n) => sum + n, 0)
