/** A map of pools: what it costs to find an open one, and to open a thousand where a hundred may be open. */
import { Effect } from "effect"
import assert from "node:assert/strict"
import type { MapContender, MapContenders } from "../contenders/poolMaps.ts"
import { type DatabasesByKey, folderOf } from "../contenders/sqlite/databasesByKey.ts"
import { type Case, type Contestant, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { wallClock } from "../harness/watch.ts"

export const poolMapCases = (
  maps: MapContenders,
  databases: ReadonlyArray<DatabasesByKey>,
  effort: Effort
): ReadonlyArray<Case> => {
  const uses = effort.scale(20_000)
  const keys = effort.scale(1000)
  return [
    {
      name: "map-hit",
      title: "1 user of 100 open pools, one after the other",
      unit: "ns per use",
      reference: "RcMap.get",
      ...effort.rounds(10, 5),
      contestants: maps.map((contender) => hitting(contender, uses))
    },
    {
      name: "map-open",
      title: `a read of each of ${keys} databases, a tenth of which may be open, 20 at once`,
      unit: "ns per read",
      reference: "node:sqlite, opened each time",
      ...effort.rounds(1, 0, 2),
      contestants: databases.map((contender) => opening(contender, keys))
    }
  ]
}

const hitting = ({ name, open }: MapContender, uses: number): Contestant => ({
  name,
  expected: served(uses),
  open: async () => {
    const keys = Array.from({ length: 100 }, (_, index) => `customer-${index}`)
    const { close, use } = await open(keys)
    const run = (times: number) => {
      let ended = 0
      const body = () => {
        ended++
        return Effect.void
      }
      const all = Effect.gen(function*() {
        for (let turn = 0; turn < times; turn++) yield* use(keys[turn % keys.length]!, body)
        return ended
      })
      return Effect.runPromise(all)
    }
    await run(keys.length)
    return {
      round: async () => {
        const watch = wallClock()
        watch.start()
        const ended = await run(uses)
        watch.stop()
        return { cost: watch.nanos() / uses, counts: served(ended) }
      },
      close
    }
  }
})

const opening = ({ name, open }: DatabasesByKey, count: number): Contestant => ({
  name,
  expected: served(count),
  open: async () => {
    const keys = Array.from({ length: count }, (_, index) => `customer-${index}`)
    const { folder, remove } = folderOf(keys)
    const { close, read } = await open(folder, count / 10)
    return {
      round: async () => {
        const watch = wallClock()
        watch.start()
        const found = await Effect.runPromise(Effect.forEach(keys, read, { concurrency: 20 }))
        watch.stop()
        assert.deepEqual(found, keys.map((_, index) => index), "something else was read")
        return { cost: watch.nanos() / count, counts: served(found.length) }
      },
      close: async () => {
        await close()
        remove()
      }
    }
  }
})
