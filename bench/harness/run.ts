/** Runs a case: all contestants in every round, in an order drawn anew for each. */
import { Effect, Random } from "effect"
import assert from "node:assert/strict"
import type { Case, Contestant, Counts, Opened } from "./case.ts"
import { settle } from "./settle.ts"

/** What one contestant's rounds cost; the rounds of all contestants of a case are in the same order. */
export interface Measured {
  readonly name: string
  readonly load: string | undefined
  readonly expected: Counts
  readonly costs: ReadonlyArray<number>
}

export const run = async (one: Case): Promise<ReadonlyArray<Measured>> => {
  const entries: Array<{ readonly contestant: Contestant; readonly opened: Opened; readonly costs: Array<number> }> = []
  for (const contestant of one.contestants) {
    entries.push({ contestant, opened: await contestant.open(), costs: [] })
  }
  for (let round = -one.warmups; round < one.rounds; round++) {
    for (const { contestant, costs, opened } of Effect.runSync(Random.shuffle(entries))) {
      await settle()
      const name = `${one.name}: ${contestant.name} ${contestant.load ?? ""}`
      const { cost, counts } = await withinTime(opened.round(), name)
      assert.deepEqual(counts, contestant.expected, `${name} did not do its work`)
      if (round >= 0) costs.push(cost)
    }
  }
  for (const { opened } of entries) await opened.close()
  return entries.map(({ contestant: { expected, load, name }, costs }) => ({ name, load, expected, costs }))
}

// Far more than any round takes: it tells a contestant that lost a caller from one that is slow.
const patienceMillis = 120_000

const withinTime = async <A>(promise: Promise<A>, name: string): Promise<A> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${name} does not end`)), patienceMillis)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
