/** An import: how long a row takes, and for how long the event loop stands still. */
import assert from "node:assert/strict"
import { setTimeout } from "node:timers/promises"
import type { Importer, Row } from "../contenders/sqlite/importers.ts"
import { type Round, served } from "../harness/case.ts"

const rowsOf = function*(count: number): Generator<Row> {
  for (let id = 0; id < count; id++) yield [id, `the name of ${String(id).padStart(8, "0")}`, id / 2]
}

export const importRows = async (importer: Importer, count: number): Promise<Round> => {
  await importer.prepare()
  let last = performance.now()
  let longest = 0
  const tick = () => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  }
  const timer = setInterval(tick, 1)
  // Without a tick before the first stall and one after the last, it sees neither.
  await setTimeout(10)
  longest = 0
  const begun = performance.now()
  await importer.run(rowsOf(count))
  const took = performance.now() - begun
  await setTimeout(10)
  clearInterval(timer)
  assert.ok(longest > 0)
  return {
    cost: { "per row": took * 1e6 / count, "longest stall": longest * 1e6 },
    counts: served(count)
  }
}
