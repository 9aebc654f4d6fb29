/** Effect's own `Pool`. It has no deadlines, so a caller with a deadline uses `Effect.timeout`. */
import { Cause, Effect, Pool, type Scope } from "effect"
import type { Contender } from "./contender.ts"
import { Ledger, type Lent } from "./ledger.ts"
import { scoped } from "./scoped.ts"
import { touching } from "./touching.ts"

type Door = (
  pool: Pool.Pool<Lent>
) => <A, E, R>(body: (lent: Lent) => Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

const contender = (name: string, door: Door): Contender => ({
  name,
  open: async ({ acquireTimeoutMillis, size }) => {
    const ledger = new Ledger()
    const connect: Effect.Effect<Lent, never, Scope.Scope> = Effect.acquireRelease(
      Effect.sync(ledger.connect),
      (connection) => Effect.sync(() => connection.close())
    )
    const { close, value: pool } = await scoped(Pool.make({ acquire: connect, size }))
    const use = door(pool)
    return {
      style: "effect",
      ledger,
      touch: acquireTimeoutMillis === undefined
        ? () => use(touching)
        : () => Effect.timeout(use(touching), acquireTimeoutMillis),
      use,
      isTimeout: Cause.isTimeoutError,
      close: async () => {
        await close()
        ledger.check()
      }
    }
  }
})

export const poolUse = contender("Pool.use", (pool) => (body) => Pool.use(pool, body))

export const poolGet = contender("Pool.get", (pool) => (body) => Effect.scoped(Effect.flatMap(Pool.get(pool), body)))
