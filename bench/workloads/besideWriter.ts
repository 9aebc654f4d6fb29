/** Readers beside a writer whose transactions take their time: how long reads take, as their callers see it. */
import { Effect } from "effect"
import { setImmediate, setTimeout } from "node:timers/promises"
import type { Client, EffectClient, PromiseClient } from "../contenders/sqlite/client.ts"
import { keyOf } from "../contenders/sqlite/database.ts"
import { ReadLog } from "./readLog.ts"

const readers = 50

/** Between two reads of a reader. */
const restMillis = 1

/** How long a transaction waits for something else before it commits. */
export const holdMillis = 50

/** What the writer lets pass between two transactions: nothing, a turn of the event loop, or so many milliseconds. */
export type Gap = "none" | "turn" | number

/** From the beginning of the first transaction to the end of the last. */
export const besideWriter = async (client: Client, transactions: number, gap: Gap): Promise<ReadLog> => {
  const log = new ReadLog(readers)
  if (client.style === "effect") await Effect.runPromise(withFibers(client, transactions, gap, log))
  else await withPromises(client, transactions, gap, log)
  return log
}

const withFibers = (client: EffectClient, transactions: number, gap: Gap, log: ReadLog) => {
  const write = Effect.gen(function*() {
    for (let turn = 0; turn < transactions; turn++) {
      const startedAt = performance.now()
      yield* client.write(keyOf(turn), Effect.sleep(holdMillis))
      log.wrote(startedAt)
      if (gap === "turn") yield* Effect.promise(() => setImmediate())
      else if (gap !== "none") yield* Effect.sleep(gap)
    }
    log.end()
  })
  const read = Effect.fnUntraced(function*(reader: number) {
    for (let turn = reader; !log.isOver; turn += readers) {
      const startedAt = performance.now()
      yield* client.read(keyOf(turn))
      log.read(reader, startedAt)
      yield* Effect.sleep(restMillis)
    }
  })
  // The writer comes first: whoever has but one connection has lent it when the readers come.
  return Effect.all([write, ...Array.from({ length: readers }, (_, reader) => read(reader))], {
    concurrency: "unbounded",
    discard: true
  })
}

const withPromises = (client: PromiseClient, transactions: number, gap: Gap, log: ReadLog) => {
  const write = async () => {
    for (let turn = 0; turn < transactions; turn++) {
      const startedAt = performance.now()
      await client.write(keyOf(turn), () => setTimeout(holdMillis))
      log.wrote(startedAt)
      if (gap === "turn") await setImmediate()
      else if (gap !== "none") await setTimeout(gap)
    }
    log.end()
  }
  const read = async (reader: number) => {
    for (let turn = reader; !log.isOver; turn += readers) {
      const startedAt = performance.now()
      await client.read(keyOf(turn))
      log.read(reader, startedAt)
      await setTimeout(restMillis)
    }
  }
  return Promise.all([write(), ...Array.from({ length: readers }, (_, reader) => read(reader))])
}
