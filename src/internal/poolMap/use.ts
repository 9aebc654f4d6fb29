/** The effects of callers: how a lease of a pool begins, waits, is held, and ends. */
import { Context, Effect, Exit, type Fiber, Scope } from "effect"
import type { AcquireOptions } from "../../PoolConfig.ts"
import type { PoolConfigError } from "../../PoolError.ts"
import type { PoolMapError } from "../../PoolMapError.ts"
import * as Calls from "../options/call.ts"
import type { CallSettings } from "../options/settings.ts"
import * as Body from "../pool/body.ts"
import * as Runtime from "../runtime.ts"
import * as Callers from "./callers.ts"
import type { MapOfPools } from "./map.ts"
import { Lease } from "./state.ts"
import { keyText } from "./view.ts"

/** The innermost lease that a fiber is in. Its children inherit it. */
const Outer = Context.Reference<Lease<unknown, unknown> | undefined>("effect-connection-pool/PoolMap/Outer", {
  defaultValue: () => undefined
})

type Body<P, A, X, R> = (pool: P) => Effect.Effect<A, X, R>

/** Runs an effect with the pool of a key. The end of the lease is installed before it begins. */
export class Use<K, P, E, A, X, R> extends Runtime.OwnStep<A, X | PoolMapError<E>, R> {
  readonly #map: MapOfPools<K, P>
  readonly #key: K
  readonly #f: Body<P, A, X, R>
  readonly #options: AcquireOptions | undefined

  constructor(map: MapOfPools<K, P>, key: K, f: Body<P, A, X, R>, options: AcquireOptions | undefined) {
    super()
    this.#map = map
    this.#key = key
    this.#f = f
    this.#options = options
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, X | PoolMapError<E>, R> {
    const map = this.#map
    const settings = resolve(map, this.#options)
    if (Calls.isRefused(settings)) return Effect.fail(settings)
    const lease = leaseOf<K, P>(this.#key, fiber, settings, undefined)
    const ask = new Ask<K, P, E, A, X, R>(map, lease, this.#f)
    const secured = Runtime.onExitWithin(ask, fiber, () => end(map, lease))
    return secured === ask ? ask.step() : secured
  }
}

/** Leases the pool of a key to the scope of the fiber. */
export const get = <K, P, E>(
  map: MapOfPools<K, P>,
  key: K,
  options: AcquireOptions | undefined
): Effect.Effect<P, PoolMapError<E>, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber) => {
      const settings = resolve(map, options)
      if (Calls.isRefused(settings)) return Effect.fail(settings)
      const scope = Context.getUnsafe(fiber.context, Scope.Scope)
      const lease = leaseOf<K, P>(key, fiber, settings, scope)
      const ended = Effect.sync(() => end(map, lease))
      const ask = new Ask<K, P, E, P, never, never>(map, lease, Exit.succeed)
      return Effect.flatMap(
        Effect.onError(restore(ask), () => ended),
        (pool) => Effect.as(Scope.addFinalizer(scope, ended), pool)
      )
    })
  )

const resolve = <K, P>(
  { state }: MapOfPools<K, P>,
  options: AcquireOptions | undefined
): CallSettings | PoolConfigError | undefined =>
  options === undefined ? undefined : Calls.resolve(state.settings.name, options)

const leaseOf = <K, P>(
  key: K,
  fiber: Fiber.Fiber<unknown, unknown>,
  settings: CallSettings | undefined,
  scope: Scope.Scope | undefined
): Lease<K, P> => new Lease(key, fiber, settings, scope, fiber.getRef(Outer) as Lease<K, P> | undefined)

const end = <K, P>(map: MapOfPools<K, P>, lease: Lease<K, P>): undefined => {
  if (lease.stage !== "ended") map.touch((now) => Callers.end(map.state, lease, now))
}

/** Asks for a pool, and waits for it. */
class Ask<K, P, E, A, X, R> extends Runtime.OwnStep<A, X | PoolMapError<E>, R> {
  readonly #map: MapOfPools<K, P>
  readonly #lease: Lease<K, P>
  readonly #f: Body<P, A, X, R>

  constructor(map: MapOfPools<K, P>, lease: Lease<K, P>, f: Body<P, A, X, R>) {
    super()
    this.#map = map
    this.#lease = lease
    this.#f = f
  }

  /** Takes an open pool and runs the caller's effect, or joins those who wait, in one step. */
  step(): Effect.Effect<A, X | PoolMapError<E>, R> {
    const map = this.#map
    const lease = this.#lease
    const { fiber } = lease
    const { state } = map
    if (state.phase !== "open") {
      state.counters.refused++
      return Effect.fail(Callers.closedError(state))
    }
    let isTaken = false
    map.touch((now) => {
      isTaken = Callers.take(state, lease, now)
    })
    if (isTaken) return this.#hold()
    if (!Runtime.isTraced(fiber)) {
      return Runtime.callbackWithin(fiber, (resume) => {
        lease.resume = () => resume(Effect.flatMap(this.#answer, () => this.#hold()))
        map.wait(lease)
      })
    }
    // The caller joins now, and its span begins in a later step and ends with the wait.
    let resume: ((answer: Effect.Effect<void, PoolMapError<E>>) => void) | undefined
    let isOver = false
    lease.resume = () => {
      isOver = true
      resume?.(this.#answer)
    }
    map.wait(lease)
    const outcome = Effect.callback<void, PoolMapError<E>>((go) => {
      resume = go
      if (isOver) go(this.#answer)
    })
    const attributes = { "pool_map.name": state.settings.name, "pool_map.key": keyText(lease.key) }
    return Effect.flatMap(
      Effect.withSpan(outcome, "PoolMap.acquire", { captureStackTrace: false, attributes }),
      () => this.#hold()
    )
  }

  /** How the wait has ended. */
  readonly #answer: Effect.Effect<void, PoolMapError<E>> = Effect.suspend(() => {
    const { refusal, stage } = this.#lease
    if (stage === "granted") return Effect.void
    // A shutdown may have taken back what was granted.
    return (refusal ?? Effect.fail(Callers.closedError(this.#map.state))) as Effect.Effect<never, PoolMapError<E>>
  })

  #hold(): Effect.Effect<A, X, R> {
    const lease = this.#lease
    lease.stage = "held"
    return Effect.provideService(Body.run(this.#f, lease.entry!.value!), Outer, lease)
  }
}
