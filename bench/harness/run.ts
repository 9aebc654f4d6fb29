/** Runs a case: all contestants in every round, each time in another random order. */
import { Effect, Random } from "effect"
import assert from "node:assert/strict"
import { type Case, type Contestant, type Counts, type Opened, sum } from "./case.ts"
import { settle } from "./settle.ts"

/** The costs of the rounds of one contestant. The rounds of all contestants of a case have the same order. */
export interface Measured {
  readonly name: string
  /** The load of the contestant, or which of its figures this is. */
  readonly load: string | undefined
  /** What happened to the callers of all these rounds. */
  readonly counts: Counts
  readonly costs: ReadonlyArray<number>
}

interface Entry {
  readonly contestant: Contestant
  readonly opened: Opened
  /** By load, or by figure. */
  readonly costs: Map<string | undefined, Array<number>>
  readonly counts: Array<Counts>
}

export const run = async (one: Case): Promise<ReadonlyArray<Measured>> => {
  const entries: Array<Entry> = []
  for (const contestant of one.contestants) {
    entries.push({ contestant, opened: await contestant.open(), costs: new Map(), counts: [] })
  }
  for (let round = -one.warmups; round < one.rounds; round++) {
    for (const entry of Effect.runSync(Random.shuffle(entries))) await oneRound(one, entry, round >= 0)
  }
  for (const { opened } of entries) await opened.close()
  return entries.flatMap(({ contestant: { name }, costs, counts }) =>
    Array.from(costs, ([load, costs]) => ({ name, load, counts: sum(counts), costs }))
  )
}

const oneRound = async (one: Case, { contestant, costs, counts, opened }: Entry, isKept: boolean): Promise<void> => {
  await settle()
  const name = `${one.name}: ${contestant.name} ${contestant.load ?? ""}`
  const round = await withinTime(opened.round(), name)
  check(round.counts, contestant.expected, `${name} did not do its work`)
  if (!isKept) return
  counts.push(round.counts)
  const figures = typeof round.cost === "number" ? [[contestant.load, round.cost] as const] : Object.entries(round.cost)
  for (const [load, cost] of figures) {
    const column = costs.get(load) ?? []
    column.push(cost)
    costs.set(load, column)
  }
}

const check = (counts: Counts, expected: Contestant["expected"], message: string): void => {
  if (typeof expected !== "number") return assert.deepEqual(counts, expected, message)
  assert.equal(Object.values<number>({ ...counts }).reduce((a, b) => a + b), expected, message)
}

// Much longer than any round takes. After it, a contestant has lost a caller, and is not just slow.
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
