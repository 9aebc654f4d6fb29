/**
 * Effect's `Reactivity` as a client of `effect/sql` hears it: what is told in a transaction is heard after the commit, and
 * not at all after a rollback, whoever tells it; and a query hears what is told in the application, however its layers are
 * put together.
 */
import { Context, Effect, Layer, Option, type Queue, type Scope } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlClient } from "effect/sql/SqlClient"

type Keys = Parameters<Reactivity.Reactivity["invalidate"]>[0]

/** Transactions in which what is told has to wait. */
type Transactions = Pick<SqlClient, "transactionService" | "afterCommit">

/** Who has a say in when something told by a `Reactivity` is heard: by a function that the copies of one share. */
const deferring = new WeakMap<Reactivity.Reactivity["registerUnsafe"], Set<Transactions>>()

/** What one client hears. */
export class HeardReactivity {
  /** What there was when the client was made. */
  readonly #own: Reactivity.Reactivity
  readonly #deferred: Array<Set<Transactions>> = []
  #transactions: Transactions | undefined = undefined

  constructor(own: Reactivity.Reactivity) {
    this.#own = own
  }

  /** Has what is told in these transactions wait for their commit. */
  defer(transactions: Transactions): void {
    this.#transactions = transactions
    this.#join(this.#own)
  }

  /** Ends that. */
  end(): void {
    for (const all of this.#deferred.splice(0)) all.delete(this.#transactions!)
  }

  /**
   * Runs an effect, and again whenever something is told about its keys: by the `Reactivity` of the fiber that asks, and by
   * that of the client, which may be another.
   */
  query<A, E, R>(
    keys: Keys,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<Queue.Dequeue<A, E>, never, R | Scope.Scope> {
    return Effect.withFiber((fiber) => {
      const own = this.#own
      const present = Context.getOrUndefined(fiber.context, Reactivity.Reactivity) ?? own
      if (present.registerUnsafe === own.registerUnsafe) return own.query(keys, effect)
      // Within one of its transactions, it is a copy that waits already.
      if (Context.getOrUndefined(fiber.context, this.#transactions!.transactionService) === undefined) {
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
    if (all.has(this.#transactions!)) return
    all.add(this.#transactions!)
    this.#deferred.push(all)
  }
}

let nextMark = 1

const withMark = (keys: Keys, mark: string): Keys => isList(keys) ? [...keys, mark] : { ...keys, [mark]: [] }

const isList = (keys: Keys): keys is ReadonlyArray<unknown> => Array.isArray(keys)

/**
 * Teaches a `Reactivity` about transactions, in place: a service that asked for it when it was built has this one, and not
 * the copy that Effect puts into the context of a transaction.
 */
const teach = (reactivity: Reactivity.Reactivity): Set<Transactions> => {
  const all = new Set<Transactions>()
  deferring.set(reactivity.registerUnsafe, all)
  // One that cannot be changed goes on as it is.
  if (Object.isFrozen(reactivity)) return all
  const original = reactivity.invalidate
  const invalidate = (keys: Keys): Effect.Effect<void> => later(keys, original(keys))
  const later = (keys: Keys, now: Effect.Effect<void>): Effect.Effect<void> =>
    Effect.withFiber((fiber) => {
      for (const { afterCommit, transactionService } of all) {
        if (Context.getOrUndefined(fiber.context, transactionService) === undefined) continue
        // Once it has waited, a batch that it was told in may be over; another database's transaction may not.
        const told = Effect.suspend(() => later(keys, Effect.sync(() => reactivity.invalidateUnsafe(keys))))
        const outside = (context: Context.Context<never>) => Context.omit(transactionService)(context)
        // The transaction is over, for a fiber that has outlived it.
        return Effect.catchDefect(afterCommit(told), () => Effect.updateContext(told, outside))
      }
      return now
    })
  const mutation: Reactivity.Reactivity["mutation"] = (keys, effect) => Effect.tap(effect, invalidate(keys))
  Object.assign(reactivity, { invalidate, mutation })
  return all
}

/** A layer with the `Reactivity` that is there; if none is, with the one that everybody else gets who builds `Reactivity.layer`. */
export const inLayer = <A, E>(layer: Layer.Layer<A, E>): Layer.Layer<A, E> =>
  Layer.unwrap(Effect.map(
    Effect.serviceOption(Reactivity.Reactivity),
    Option.match({ onNone: () => Layer.provide(layer, Reactivity.layer), onSome: () => layer })
  ))
