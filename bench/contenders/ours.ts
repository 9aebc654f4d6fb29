/** This library, with default options: deadlines, numbers, metrics and leak reports are on. */
import { Effect, type Scope, Stream } from "effect"
import type { ConnectionFactory, ConnectionPool, PoolConfig } from "effect-connection-pool"
import type { Library } from "../library.ts"
import type { Contender, EffectPool } from "./contender.ts"
import { type Connection, Ledger, type Lent } from "./ledger.ts"
import { scoped } from "./scoped.ts"
import { touching } from "./touching.ts"

type Door = (
  pool: ConnectionPool.ConnectionPool<Lent>,
  timeout: number | undefined
) => Pick<EffectPool, "touch" | "use">

type Name = "use" | "useSync" | "acquire" | "hooks" | "useUnmeasured" | "useSyncUnmeasured" | "useWatched"

/** `prefix` distinguishes two builds of the library. */
export const ours = (library: Library, prefix: string): Record<Name, Contender> => {
  const contender = (
    name: string,
    door: Door,
    factoryOf: FactoryOf,
    { isWatched, ...config }: PoolConfig.PoolConfig & { readonly isWatched?: boolean } = {}
  ): Contender => ({
    name: `${prefix} ${name}`,
    open: async ({ acquireTimeoutMillis, size }) => {
      const ledger = new Ledger()
      const { close, value: pool } = await scoped(
        library.ConnectionPool.make({ factory: factoryOf(ledger), min: size, max: size, ...config })
      )
      if (isWatched === true) Effect.runFork(Stream.runDrain(pool.events))
      return {
        style: "effect",
        ledger,
        ...door(pool, acquireTimeoutMillis),
        isTimeout: (error) => error instanceof library.PoolError.AcquireTimeoutError,
        close: async () => {
          await close()
          ledger.check()
        }
      }
    }
  })
  return {
    use: contender("use", use, plain),
    useSync: contender("useSync", useSync, plain),
    acquire: contender("acquire", acquire, plain),
    hooks: contender("use, hooks", use, hooked),
    useUnmeasured: contender("use, no metrics", use, plain, { metrics: false }),
    useSyncUnmeasured: contender("useSync, no metrics", useSync, plain, { metrics: false }),
    useWatched: contender("use, events read", use, plain, { isWatched: true })
  }
}

const use: Door = (pool, timeout) =>
  timeout === undefined
    ? { touch: () => pool.use(touching), use: (body) => pool.use(body) }
    : { touch: () => pool.use(touching, { timeout }), use: (body) => pool.use(body, { timeout }) }

const useSync: Door = (pool, timeout) => ({
  touch: timeout === undefined ? () => pool.useSync(touch) : () => pool.useSync(touch, { timeout }),
  use: use(pool, timeout).use
})

const acquire: Door = (pool, timeout) => {
  const get = acquireOf(pool, timeout === undefined ? undefined : { timeout })
  return {
    touch: () => Effect.scoped(Effect.flatMap(get, touching)),
    use: (body) => Effect.scoped(Effect.flatMap(get, body))
  }
}

/** A build to compare with may be from before `acquire` was a function, with options or without. */
const acquireOf = (pool: ConnectionPool.ConnectionPool<Lent>, options: ConnectionPool.AcquireOptions | undefined) => {
  if (!("acquireWith" in pool)) return pool.acquire(options)
  const { acquire, acquireWith } = pool as unknown as {
    readonly acquire: ReturnType<typeof pool.acquire>
    readonly acquireWith: typeof pool.acquire
  }
  return options === undefined ? acquire : acquireWith(options)
}

const touch = (lent: Lent): void => {
  lent.enter()
  lent.leave()
}

type FactoryOf = (ledger: Ledger) => ConnectionFactory.ConnectionFactory<Lent>

const connect = (ledger: Ledger): Effect.Effect<Connection, never, Scope.Scope> =>
  Effect.acquireRelease(Effect.sync(ledger.connect), (connection) => Effect.sync(() => connection.close()))

/** A driver without any hooks. */
const plain: FactoryOf = (ledger) => ({ connect: connect(ledger) })

/** A driver that uses every hook on the path of a lease. Its views end with the lease, as those of SQLite do. */
const hooked: FactoryOf = (ledger) => ({
  connect: Effect.map(connect(ledger), (connection) => new Guarded(connection)),
  isAlive: (lent) => !(lent as Guarded).isEnded,
  beginLease: (lent) => new Guarded(lent),
  endLease: (lent) => {
    ;(lent as Guarded).isEnded = true
  },
  needsReset: (lent) => (lent as Guarded).isEnded,
  reset: () => Effect.void
})

class Guarded implements Lent {
  isEnded = false
  readonly #lent: Lent

  constructor(lent: Lent) {
    this.#lent = lent
  }

  enter(): void {
    if (this.isEnded) throw new Error("used after its lease has ended")
    this.#lent.enter()
  }

  leave(): void {
    this.#lent.leave()
  }
}
