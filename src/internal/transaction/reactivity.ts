/**
 * Effect's `Reactivity` for a client of `effect/sql`.
 *
 * An invalidation inside a transaction reaches the queries after the commit, and never after a rollback, whichever
 * service makes it. A query hears the invalidations of the whole application, however its layers are put together.
 */
import { Context, Effect, Layer, Option, type Queue, type Scope } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlClient } from "effect/sql/SqlClient"

type Keys = Parameters<Reactivity.Reactivity["invalidate"]>[0]

/** Transactions in which invalidations wait for the commit. */
type Transactions = Pick<SqlClient, "transactionService" | "afterCommit">

/** What a `Reactivity` knows of a client. A `Reactivity` may live longer than the client, and so keeps nothing else of it. */
export class Deferral {
  /** Not set once the client is closed. */
  transactions: Transactions | undefined = undefined
}

/** The clients whose transactions delay the invalidations of a `Reactivity`, by a function that all copies of it share. */
const deferring = new WeakMap<Reactivity.Reactivity["registerUnsafe"], Set<Deferral>>()

/** The `Reactivity` of one client. */
export class HeardReactivity {
  /** The `Reactivity` with which the client was made. */
  readonly #own: Reactivity.Reactivity
  /** An application may have a `Reactivity` for each request. So the client keeps none of those that ask. */
  readonly #deferral = new Deferral()

  constructor(own: Reactivity.Reactivity) {
    this.#own = own
  }

  /** Makes invalidations in these transactions wait for their commit. */
  defer(transactions: Transactions): void {
    this.#deferral.transactions = transactions
    this.#join(this.#own)
  }

  /** Stops delaying invalidations. */
  end(): void {
    this.#deferral.transactions = undefined
    deferring.get(this.#own.registerUnsafe)?.delete(this.#deferral)
  }

  /**
   * Runs an effect, and runs it again whenever one of its keys is invalidated: in the `Reactivity` of the fiber that
   * asks, or in that of the client, which may be another.
   */
  query<A, E, R>(
    keys: Keys,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<Queue.Dequeue<A, E>, never, R | Scope.Scope> {
    return Effect.withFiber((fiber) => {
      const own = this.#own
      const present = Context.getOrUndefined(fiber.context, Reactivity.Reactivity) ?? own
      if (present.registerUnsafe === own.registerUnsafe) return own.query(keys, effect)
      // In a transaction of this client, Effect provides a copy, which delays invalidations already.
      const { transactions } = this.#deferral
      if (
        transactions !== undefined &&
        Context.getOrUndefined(fiber.context, transactions.transactionService) === undefined
      ) {
        this.#join(present)
      }
      const mark = `effect-connection-pool/Reactivity/${nextMark++}`
      const pass = Effect.acquireRelease(
        Effect.sync(() => own.registerUnsafe(keys, () => present.invalidateUnsafe([mark]))),
        (stop) => Effect.sync(stop)
      )
      return Effect.andThen(pass, present.query(withMark(keys, mark), effect))
    })
  }

  #join(reactivity: Reactivity.Reactivity): void {
    const all = deferring.get(reactivity.registerUnsafe) ?? teach(reactivity)
    if (all.has(this.#deferral)) return
    // Clients that were closed have not left, except from their own.
    for (const deferral of all) if (deferral.transactions === undefined) all.delete(deferral)
    all.add(this.#deferral)
  }
}

let nextMark = 1

const withMark = (keys: Keys, mark: string): Keys => isList(keys) ? [...keys, mark] : { ...keys, [mark]: [] }

const isList = (keys: Keys): keys is ReadonlyArray<unknown> => Array.isArray(keys)

/**
 * Changes a `Reactivity` in place, so that its invalidations wait for transactions. Other services may hold this
 * object, and would not see the copy that Effect provides in a transaction.
 */
const teach = (reactivity: Reactivity.Reactivity): Set<Deferral> => {
  const all = new Set<Deferral>()
  deferring.set(reactivity.registerUnsafe, all)
  // A frozen object cannot be changed, and stays as it is.
  if (Object.isFrozen(reactivity)) return all
  const original = reactivity.invalidate
  const invalidate = (keys: Keys): Effect.Effect<void> => later(keys, original(keys))
  const later = (keys: Keys, now: Effect.Effect<void>): Effect.Effect<void> =>
    Effect.withFiber((fiber) => {
      for (const { transactions } of all) {
        if (transactions === undefined) continue
        const { afterCommit, transactionService } = transactions
        if (Context.getOrUndefined(fiber.context, transactionService) === undefined) continue
        // After the commit, a batch of invalidations may be over, and a transaction of another database may still be
        // open.
        const told = Effect.suspend(() => later(keys, Effect.sync(() => reactivity.invalidateUnsafe(keys))))
        const outside = (context: Context.Context<never>) => Context.omit(transactionService)(context)
        // The transaction of a fiber that has outlived it is over, so nothing has to wait.
        return Effect.catchDefect(afterCommit(told), () => Effect.updateContext(told, outside))
      }
      return now
    })
  const mutation: Reactivity.Reactivity["mutation"] = (keys, effect) => Effect.tap(effect, invalidate(keys))
  Object.assign(reactivity, { invalidate, mutation })
  return all
}

/** Gives a layer the `Reactivity` of the context; without one, the shared one of `Reactivity.layer`. */
export const inLayer = <A, E>(layer: Layer.Layer<A, E>): Layer.Layer<A, E> =>
  Layer.unwrap(Effect.map(
    Effect.serviceOption(Reactivity.Reactivity),
    Option.match({ onNone: () => Layer.provide(layer, Reactivity.layer), onSome: () => layer })
  ))
