/** Effect's own `Pool` over four connections of `node:sqlite`, each with the statement prepared. */
import { Effect, Pool } from "effect"
import { DatabaseSync } from "node:sqlite"
import { scoped } from "../scoped.ts"
import type { EffectReader } from "./client.ts"
import { type Item, select } from "./database.ts"

export const poolUse = async (filename: string): Promise<EffectReader> => {
  const connect = Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new DatabaseSync(filename)),
      (database) => Effect.sync(() => database.close())
    ),
    (database) => database.prepare(select)
  )
  const { close, value: pool } = await scoped(Pool.make({ acquire: connect, size: 4 }))
  return {
    style: "effect",
    read: (key) => Pool.use(pool, (statement) => Effect.sync(() => statement.get(key) as unknown as Item)),
    close
  }
}
