/** Users who add 1 to their account in transactions, each one after the other. */
import { Effect } from "effect"
import type { Client } from "../contenders/postgres/client.ts"
import { repeat } from "./alone.ts"

export const transactions = async (client: Client, users: number, each: number): Promise<void> => {
  const user = async (_: unknown, index: number): Promise<void> => {
    const account = index + 1
    if (client.style === "effect") return Effect.runPromise(repeat(() => client.addOne(account), each))
    for (let left = each; left > 0; left--) await client.addOne(account)
  }
  await Promise.all(Array.from({ length: users }, user))
}
