/** Two writers whose transactions take their time, each of whom tries so many, however they end. */
import { Effect } from "effect"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { setTimeout } from "node:timers/promises"
import type { Client } from "../contenders/sqlite/client.ts"
import { keyOf } from "../contenders/sqlite/database.ts"
import { counts, type Round, starved } from "../harness/case.ts"
import { repeat } from "./alone.ts"

const writers = 2

const tickMillis = 5

export const twoWriters = async (client: Client, attemptsEach: number, holdMillis: number): Promise<Round> => {
  let committed = 0
  let busy = 0
  const writer = async (): Promise<void> => {
    if (client.style === "effect") {
      const write = () => client.write(keyOf(committed), Effect.sleep(holdMillis))
      return Effect.runPromise(repeat(write, attemptsEach, () => void committed++))
    }
    for (let attempt = 0; attempt < attemptsEach; attempt++) {
      try {
        await client.write(keyOf(committed), () => setTimeout(holdMillis))
        committed++
      } catch (error) {
        if (client.isBusy?.(error) !== true) throw error
        busy++
      }
    }
  }
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  // It measures from one tick to the next: without one before the first stall and one after the last, it sees neither.
  await setTimeout(tickMillis)
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: writers }, writer))
  const nanos = (performance.now() - startedAt) * 1e6
  await setTimeout(tickMillis)
  delay.disable()
  return {
    cost: { "per commit": committed === 0 ? starved : nanos / committed, "longest stall": delay.max },
    counts: counts({ served: committed, busy })
  }
}
