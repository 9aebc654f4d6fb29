/** What a start costs, for those who start often: from nothing to the first row, and the end. */
import { Effect } from "effect"
import assert from "node:assert/strict"
import type { Reader, SqliteContender } from "../contenders/sqlite/client.ts"
import { type Item, keyOf, onFile } from "../contenders/sqlite/database.ts"
import type { SqliteContenders } from "../contenders/sqlite/index.ts"
import { type Case, type Contestant, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { wallClock } from "../harness/watch.ts"

export const startCases = (who: SqliteContenders, effort: Effort): ReadonlyArray<Case> => {
  const starts = effort.isShort ? 2 : 20
  return [{
    name: "start",
    title: "opens a database that is there and reads the first row, and closes it",
    unit: "ns",
    reference: "node:sqlite",
    ...effort.rounds(10, 5),
    contestants: who.starters.map((contender) => starting(contender, starts))
  }]
}

const starting = (contender: SqliteContender<Reader>, starts: number): Contestant => ({
  name: contender.name,
  expected: served(starts),
  open: () =>
    onFile(async (filename) => ({
      round: async () => {
        const [open, close] = [wallClock(), wallClock()]
        let opened = 0
        for (let start = 0; start < starts; start++) {
          open.start()
          const reader = await contender.open(filename)
          const { n } = await readOne(reader, keyOf(start))
          open.stop()
          if (n === keyOf(start) * 2) opened++
          close.start()
          await reader.close()
          close.stop()
        }
        assert.equal(opened, starts, "something else was read")
        return { cost: { "first row": open.nanos() / starts, "close": close.nanos() / starts }, counts: served(opened) }
      },
      close: async () => {}
    }))
})

/** Reads one row, from outside of Effect. */
export const readOne = (reader: Reader, key: number): Item | Promise<Item> =>
  reader.style === "effect" ? Effect.runPromise(reader.read(key)) : reader.read(key)
