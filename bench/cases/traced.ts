/** What a tracer costs, as production has one: reads, rows added, and transactions, with spans and without. */
import { Effect } from "effect"
import assert from "node:assert/strict"
import type { EffectReader, SqliteContender, TracedClient } from "../contenders/sqlite/client.ts"
import { type Item, keyOf, sumOf } from "../contenders/sqlite/database.ts"
import type { SqliteContenders } from "../contenders/sqlite/index.ts"
import type { Witnessed } from "../contenders/sqlite/services.ts"
import { type Case, type Contestant, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { Spans, statementSpan, transactionSpan } from "../harness/spans.ts"
import { wallClock } from "../harness/watch.ts"
import { repeat } from "../workloads/alone.ts"
import { sqliteContestant } from "./sqliteContestant.ts"

/** What is done in one round, and what has to have come of it. */
interface Work {
  readonly effect: Effect.Effect<void, unknown>
  readonly check: () => void
}

export const tracedCases = (who: SqliteContenders, effort: Effort): ReadonlyArray<Case> => {
  const units = effort.scale(1000)
  const both = <A extends EffectReader>(
    contender: SqliteContender<A>,
    spans: Readonly<Record<string, number>>,
    work: (client: A, units: number) => Work
  ): ReadonlyArray<Contestant> =>
    ["untraced", "traced"].map((load) =>
      sqliteContestant(contender, {
        load,
        expected: served(units),
        round: async (client) => {
          const seen = new Spans()
          const { check, effect } = work(client, units)
          const watch = wallClock()
          watch.start()
          await Effect.runPromise(load === "traced" ? Effect.withTracer(effect, seen.tracer) : effect)
          watch.stop()
          check()
          seen.check(load === "traced" ? spans : {})
          return { cost: watch.nanos() / units, counts: served(units) }
        }
      })
    )
  const about = { reference: "@effect/sql-sqlite-node: sql", ...effort.rounds(15, 12) }
  const statement = { [statementSpan]: units }
  return [
    {
      name: "traced-read",
      title: "1 user, reads by key, without a tracer and with one",
      unit: "ns per read",
      ...about,
      contestants: [
        ...who.traced.flatMap((contender) => both(contender, statement, reads)),
        ...both(who.tracedFloor, statement, reads)
      ]
    },
    {
      name: "traced-insert",
      title: "1 user, adds rows, synchronous = normal, without a tracer and with one",
      unit: "ns per row",
      ...about,
      contestants: who.traced.flatMap((contender) => both(contender, statement, inserts))
    },
    {
      name: "traced-transaction",
      title: "1 user, transactions that add a row and read one, synchronous = normal, without a tracer and with one",
      unit: "ns per transaction",
      ...about,
      contestants: [...who.traced, who.transactionFloor].flatMap((contender) =>
        both(contender, { [transactionSpan]: units, [statementSpan]: 2 * units }, transactions)
      )
    }
  ]
}

const reads = (client: EffectReader, units: number): Work => {
  let turn = 0
  return reading(units, () => client.read(keyOf(turn++)))
}

const inserts = (client: Witnessed<TracedClient>, units: number): Work => {
  let turn = 0
  return { effect: repeat(() => client.insert(turn++), units), check: () => checkAdded(client, units) }
}

const transactions = (client: Witnessed<TracedClient>, units: number): Work => {
  let turn = 0
  const { check, effect } = reading(units, () => client.insertAndRead(turn, keyOf(turn++)))
  return {
    effect,
    check: () => {
      check()
      checkAdded(client, units)
    }
  }
}

const reading = (units: number, read: () => Effect.Effect<Item, unknown>): Work => {
  let sum = 0
  const take = ({ n }: Item) => {
    sum += n
  }
  return {
    effect: repeat(read, units, take),
    check: () => assert.equal(sum, sumOf(units), "something else was read")
  }
}

const checkAdded = ({ added }: Witnessed<TracedClient>, units: number): void =>
  assert.deepEqual(added(), { rows: units, sum: units * (units - 1) / 2 }, "something else was written")
