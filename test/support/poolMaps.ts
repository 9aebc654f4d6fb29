/** Maps of small pools whose opening and closing the test controls. */
import { Effect, Latch } from "effect"
import { PoolMap } from "effect-connection-pool"
import { settle } from "./pools.ts"

export class OpenError extends Error {
  readonly _tag = "OpenError"
}

/** A pool that only knows its key and its number. */
export interface Small {
  readonly key: string
  readonly number: number
}

/** A map whose pools are objects, and everything that happens to them. */
export const makeMap = Effect.fnUntraced(function*(
  options?: PoolMap.PoolMapConfig & { readonly stateOf?: (pool: Small) => "idle" | "in use" | "closed" }
) {
  /** What has happened, such as `open a1`: the pool with the number 1, of the key `a`. */
  const log: Array<string> = []
  const opening = yield* Latch.make(true)
  const closing = yield* Latch.make(true)
  const failures: Array<OpenError> = []
  const isOpen = new Set<string>()
  let numbers = 0
  let most = 0
  const open = (key: string) =>
    Effect.gen(function*() {
      const small: Small = { key, number: ++numbers }
      const name = `${key}${small.number}`
      log.push(`opening ${name}`)
      yield* Effect.addFinalizer(() =>
        Effect.gen(function*() {
          log.push(`closing ${name}`)
          yield* closing.await
          if (!isOpen.delete(key)) throw new Error(`${name} was closed twice`)
          log.push(`closed ${name}`)
        })
      )
      if (isOpen.has(key)) throw new Error(`two pools of ${key} at once`)
      isOpen.add(key)
      most = Math.max(most, isOpen.size)
      yield* opening.await
      const failure = failures.shift()
      if (failure !== undefined) return yield* Effect.fail(failure)
      log.push(`open ${name}`)
      return small
    })
  const map = yield* PoolMap.make({ drainTimeout: 0, ...options, open })
  // A test that fails half-way must not wait for what it holds.
  yield* Effect.addFinalizer(() => Effect.all([opening.open, closing.open]))
  return {
    map,
    log,
    opening,
    closing,
    failures,
    /** The keys that are open, or opening, or not closed yet. */
    isOpen,
    /** The largest number of them at one time. */
    most: () => most,
    /** Gives the log so far, and forgets it. */
    take: Effect.map(settle, () => log.splice(0))
  }
})

export type TestMap = Effect.Success<ReturnType<typeof makeMap>>

/** Leases a pool in a fiber of its own, until it is told to let go. */
export const hold = Effect.fnUntraced(function*<K, P, E>(
  map: PoolMap.PoolMap<K, P, E>,
  key: K,
  options?: { readonly timeout?: number; readonly label?: string }
) {
  const latch = yield* Latch.make(false)
  let pool: P | undefined
  const fiber = yield* Effect.forkDetach(
    map.use(key, (given) => {
      pool = given
      return Effect.as(latch.await, given)
    }, options)
  )
  yield* settle
  return {
    fiber,
    get pool() {
      return pool
    },
    letGo: Effect.andThen(latch.open, settle)
  }
})

/** The numbers of pools in each state, without those that are 0. */
export const shapeOf = (map: Pick<PoolMap.PoolMap<never, unknown>, "stats">) =>
  Effect.map(map.stats, ({ closing, idle, inUse, leases, opening, waiting }) =>
    Object.fromEntries(
      Object.entries({ opening, idle, inUse, closing, waiting, leases }).filter(([, count]) => count > 0)
    ))
