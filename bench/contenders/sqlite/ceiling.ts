/** No database at all: reads that take no time, and transactions that only wait. What the load itself costs. */
import { Effect } from "effect"
import type { EffectClient, PromiseClient } from "./client.ts"

const item = { id: 1, name: "item 1", n: 2 }

export const ceilingFibers = async (): Promise<EffectClient> => ({
  style: "effect",
  read: () => Effect.succeed(item),
  write: (_, pause) => pause,
  close: async () => {}
})

export const ceilingPromises = async (): Promise<PromiseClient> => ({
  style: "promise",
  read: async () => item,
  write: async (_, pause) => void await pause(),
  close: async () => {}
})
