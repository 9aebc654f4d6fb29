/** Measures the memory of one contender and prints it: run by `heap.ts`, in a process of its own. */
import { PerformanceObserver } from "node:perf_hooks"
import type { Pool } from "../contenders/contender.ts"
import { all, contenders } from "../contenders/index.ts"
import { type Round, served } from "../harness/case.ts"
import { toJson } from "../harness/json.ts"
import { turns } from "../harness/settle.ts"
import { summarize } from "../harness/summary.ts"
import { loadAll, loadInspector } from "../library.ts"
import { alone } from "../workloads/alone.ts"
import { hold, queueUp } from "../workloads/line.ts"
import { Tally } from "../workloads/tally.ts"
import type { HeapTask } from "./heap.ts"

const size = 4
const collect = globalThis.gc!
const used = () => process.memoryUsage().heapUsed

const perUse = async (pool: Pool, units: number): Promise<Round> => {
  let collections = 0
  const observer = new PerformanceObserver((list) => {
    collections += list.getEntries().length
  })
  observer.observe({ entryTypes: ["gc"] })
  // Compiled code allocates less than interpreted code.
  for (let i = 0; i < 10; i++) await alone(pool, units)
  const costs: Array<number> = []
  let uses = 0
  while (costs.length < 5) {
    await turns()
    collections = 0
    const usesBefore = pool.ledger.uses
    const before = used()
    await alone(pool, units)
    const bytes = used() - before
    uses = pool.ledger.uses - usesBefore
    await turns()
    if (collections === 0) costs.push(bytes / units)
  }
  return { cost: summarize(costs).median, counts: served(uses) }
}

const perWaiter = async (pool: Pool, units: number): Promise<Round> => {
  const costs: Array<number> = []
  let counts = served(0)
  for (let i = 0; i < 5; i++) {
    const release = await hold(pool, size)
    const tally = new Tally(units, () => {})
    collect()
    const before = used()
    queueUp(pool, units, tally)
    await turns()
    collect()
    costs.push((used() - before) / units)
    release()
    await tally.done
    await turns()
    counts = tally.counts
  }
  return { cost: summarize(costs).median, counts }
}

const { contender: name, folders, units, what } = JSON.parse(process.argv[2]!) as HeapTask
const who = contenders(await loadAll(folders), await loadInspector(folders))
const contender = all(who).find((contender) => contender.name === name)!
const pool = await contender.open({ size, ...(what === "timed waiter" ? { acquireTimeoutMillis: 60_000 } : undefined) })
const round = what === "use" ? await perUse(pool, units) : await perWaiter(pool, units)
await pool.close()
console.log(toJson(round))
