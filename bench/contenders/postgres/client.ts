/** A way to a PostgreSQL database, so that each kind of work is written once for each style. */
import type { Effect } from "effect"
import type { Item } from "../sqlite/database.ts"
import type { Where } from "./server.ts"

export interface PostgresContender {
  readonly name: string
  readonly open: (where: Where) => Promise<Client>
  /** Whether it is there for reads only. Default: false. */
  readonly readsOnly?: boolean
}

/** Reads rows by their keys, and adds 1 to a row in a transaction. */
export type Client = EffectClient | PromiseClient

interface AnyClient {
  readonly close: () => Promise<void>
}

export interface EffectClient extends AnyClient {
  readonly style: "effect"
  readonly read: (key: number) => Effect.Effect<Item, unknown>
  readonly addOne: (account: number) => Effect.Effect<unknown, unknown>
}

export interface PromiseClient extends AnyClient {
  readonly style: "promise"
  readonly read: (key: number) => Promise<Item>
  readonly addOne: (account: number) => Promise<unknown>
}
