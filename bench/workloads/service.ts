/** Users of a service, each of whom does one thing after the other: adds rows, or reads most of the time. */
import { Effect } from "effect"
import type { Service } from "../contenders/sqlite/client.ts"
import { type Item, keyOf } from "../contenders/sqlite/database.ts"
import { repeat } from "./alone.ts"

/** Whether a user writes in that turn, or reads. */
export type Writes = (turn: number) => boolean

export const always: Writes = () => true

export const oneInTen: Writes = (turn) => turn % 10 === 9

/** What all of them have read, summed up. A row that is written has the number of its turn. */
export const useService = async (service: Service, users: number, each: number, writes: Writes): Promise<number> => {
  let sum = 0
  let turn = 0
  const take = ({ n }: Item) => {
    sum += n
  }
  const user = async (): Promise<void> => {
    switch (service.style) {
      case "effect":
        return Effect.runPromise(repeat(() => {
          const now = turn++
          return writes(now) ? service.insert(now) : Effect.map(service.read(keyOf(now)), take)
        }, each))
      case "promise":
        for (let left = each; left > 0; left--) {
          const now = turn++
          if (writes(now)) await service.insert(now)
          else take(await service.read(keyOf(now)))
        }
        return
      case "sync":
        for (let left = each; left > 0; left--) {
          const now = turn++
          if (writes(now)) service.insert(now)
          else take(service.read(keyOf(now)))
        }
    }
  }
  await Promise.all(Array.from({ length: users }, user))
  return sum
}
