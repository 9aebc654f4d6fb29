/** Advisory locks: https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS. */
import { Effect, type Fiber } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { ConnectionPool } from "../../../ConnectionPool.ts"
import { show } from "../../../internal/options/show.ts"
import type { PoolError } from "../../../PoolError.ts"
import { AdvisoryLockLostError } from "../../PgPoolError.ts"
import { sessionOf } from "../connection/leased.ts"
import type { PgConnection } from "../contract/connection.ts"
import type { LockKey, LockOptions } from "../contract/lock.ts"
import { denied, invalidInput } from "../errors.ts"
import { pooledLock } from "./refusals.ts"

export interface Options {
  readonly name: string
  readonly pool: ConnectionPool<PgConnection, SqlError>
  /** Whether there is a pooler in between, where only a transaction keeps its session. */
  readonly isPooled: boolean
  /** How long the server may take to answer that the lock is given back. */
  readonly controlTimeoutMillis: number
  readonly connectionInTransaction: (fiber: Fiber.Fiber<unknown, unknown>) => PgConnection | undefined
}

/** Runs an effect while a lock is held. */
export const lock = <A, E, R>(
  { connectionInTransaction, controlTimeoutMillis, isPooled, name, pool }: Options,
  key: LockKey,
  effect: Effect.Effect<A, E, R>,
  options: LockOptions | undefined
): Effect.Effect<A, E | SqlError | AdvisoryLockLostError | PoolError<SqlError>, R> =>
  Effect.withFiber((fiber): Effect.Effect<A, E | SqlError | AdvisoryLockLostError | PoolError<SqlError>, R> => {
    const params = paramsOf(key)
    if (params === undefined) {
      return Effect.fail(invalidInput("lock", `lock: the key is ${show(key)}, but must be ${mustBe}`))
    }
    const { shared = false, ...lease } = options ?? {}
    if (typeof shared !== "boolean") {
      return Effect.fail(invalidInput("lock", `lock: shared is ${show(shared)}, but must be true or false`))
    }
    const of = (verb: string) => `select pg_advisory_${verb}${shared ? "_shared" : ""}(${placeholders(key)})`
    const inside = connectionInTransaction(fiber)
    if (inside !== undefined) {
      // Given back before the commit, it would let others in before they can see the work.
      return Effect.andThen(
        Effect.catchTag(inside.query(of("xact_lock"), params), "LeaseExpiredError", Effect.die),
        effect
      )
    }
    if (isPooled) return Effect.fail(denied("lock", nameOf(key), pooledLock))
    return pool.use((connection) => {
      const session = sessionOf(connection)
      const locked = Effect.andThen(
        session.keptFor("lock", nameOf(key)),
        Effect.catchTag(connection.query(of("lock"), params), "LeaseExpiredError", Effect.die)
      )
      const lost = Effect.andThen(
        session.closed,
        Effect.fail(new AdvisoryLockLostError({ pool: name, key: nameOf(key) }))
      )
      const unlock = session.within("unlock", connection.query(of("unlock"), params), controlTimeoutMillis)
      const unlocked = Effect.matchEffect(unlock, {
        // The reset after the lease gives it back, or the end of the session has.
        onFailure: () => Effect.void,
        onSuccess: () => Effect.sync(() => session.unlocked())
      })
      return Effect.uninterruptibleMask((restore) =>
        Effect.andThen(restore(locked), Effect.ensuring(restore(Effect.raceFirst(effect, lost)), unlocked))
      )
    }, { label: "lock", ...lease })
  })

const mustBe = "text, a whole number of 64 bits, or two whole numbers of 32 bits"

const paramsOf = (key: LockKey): ReadonlyArray<unknown> | undefined => {
  if (typeof key === "string") return key === "" || key.includes("\0") || !key.isWellFormed() ? undefined : [key]
  if (typeof key === "bigint") return BigInt.asIntN(64, key) === key ? [key] : undefined
  if (typeof key === "number") return Number.isSafeInteger(key) ? [BigInt(key)] : undefined
  return Array.isArray(key) && key.length === 2 && key.every((part) => Number.isInteger(part) && (part | 0) === part)
    ? key.map((part: number) => part + 0)
    : undefined
}

const placeholders = (key: LockKey): string =>
  typeof key === "string" ? "hashtextextended($1::text, 0)" : Array.isArray(key) ? "$1::int4, $2::int4" : "$1::int8"

const nameOf = (key: LockKey): string => Array.isArray(key) ? key.join(", ") : String(key)
