/** Users who read rows by their keys, each one after the other. */
import { Effect } from "effect"
import type { Reader } from "../contenders/sqlite/client.ts"
import { type Item, keyOf } from "../contenders/sqlite/database.ts"
import { repeat } from "./alone.ts"

/** What all of them have read, summed up. */
export const pointReads = async (reader: Reader, users: number, readsEach: number): Promise<number> => {
  let sum = 0
  let turn = 0
  const take = ({ n }: Item) => {
    sum += n
  }
  const user = async (): Promise<void> => {
    switch (reader.style) {
      case "effect":
        return Effect.runPromise(repeat(() => reader.read(keyOf(turn++)), readsEach, take))
      case "promise":
        for (let read = 0; read < readsEach; read++) take(await reader.read(keyOf(turn++)))
        return
      case "sync":
        for (let read = 0; read < readsEach; read++) take(reader.read(keyOf(turn++)))
    }
  }
  await Promise.all(Array.from({ length: users }, user))
  return sum
}
