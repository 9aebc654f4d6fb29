/** What an effect has written itself, so that its reads wait until a replica has it. */
import { Context, Effect, type Fiber, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions, ConnectionPool } from "../../../ConnectionPool.ts"
import type { PoolError } from "../../../PoolError.ts"
import { sessionOf } from "../connection/leased.ts"
import type { PgConnection } from "../contract/connection.ts"
import type { Position } from "../contract/hosts.ts"
import * as Role from "../hosts/role.ts"
import { isLost } from "../sqlState.ts"

/** The writes of one effect. */
interface Writes {
  /** How many have ended. */
  count: number
  /** How many have begun and not ended. What they have committed already is not known. */
  open: number
  /** How many of them are before `position`. */
  known: number
  position: Position | undefined
}

/** One that was open has ended. */
const ended = (writes: Writes): Effect.Effect<void> =>
  Effect.sync(() => {
    writes.open--
    writes.count++
  })

let nextId = 1

export class OwnWrites {
  readonly #primary: ConnectionPool<PgConnection, SqlError>
  readonly #controlTimeoutMillis: number
  readonly #reference = Context.Reference<Writes | undefined>(`effect-connection-pool/postgres/writes/${nextId++}`, {
    defaultValue: () => undefined
  })

  /** `controlTimeoutMillis` is how long the primary may take to answer where it is. */
  constructor(primary: ConnectionPool<PgConnection, SqlError>, controlTimeoutMillis: number) {
    this.#primary = primary
    this.#controlTimeoutMillis = controlTimeoutMillis
  }

  /** Follows the writes of an effect. It sees what was written before `after`, too. */
  follow<A, E, R>(effect: Effect.Effect<A, E, R>, after: Position | undefined): Effect.Effect<A, E, R> {
    return Effect.suspend(() =>
      Effect.provideService(effect, this.#reference, { count: 0, open: 0, known: 0, position: after })
    )
  }

  /** Runs an effect whose reads see everything that was committed before it began. */
  fresh<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    // As if it had written itself: its first read on a replica asks for the position.
    return Effect.suspend(() =>
      Effect.provideService(effect, this.#reference, { count: 1, open: 0, known: 0, position: undefined })
    )
  }

  /** Runs what may write, and notes its begin and its end. */
  wrote<A, E, R>(fiber: Fiber.Fiber<unknown, unknown>, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    const writes = fiber.getRef(this.#reference)
    // Also what has failed may be stored.
    return writes === undefined ? effect : Effect.acquireUseRelease(
      Effect.sync(() => void writes.open++),
      () => effect,
      () => ended(writes)
    )
  }

  /** A connection of the primary for the scope. What is done on it is a write that ends with the scope. */
  acquire(
    fiber: Fiber.Fiber<unknown, unknown>,
    options?: AcquireOptions
  ): Effect.Effect<PgConnection, PoolError<SqlError>, Scope.Scope> {
    const writes = fiber.getRef(this.#reference)
    const acquired = this.#primary.acquire(options)
    return writes === undefined ? acquired : Effect.tap(
      acquired,
      () => Effect.acquireRelease(Effect.sync(() => void writes.open++), () => ended(writes))
    )
  }

  /** The position that a read of this fiber has to see, if it is known. `undefined`: none. */
  known(fiber: Fiber.Fiber<unknown, unknown>): Position | undefined {
    return fiber.getRef(this.#reference)?.position
  }

  /** The position that a read of this fiber has to see. Asks the primary if there was a write since it was asked last. */
  needed(
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<Position | undefined, SqlError | PoolError<SqlError>> | undefined {
    const writes = fiber.getRef(this.#reference)
    if (writes === undefined) return undefined
    if (writes.known === writes.count && writes.open === 0) {
      return writes.position === undefined
        ? undefined
        : Effect.succeed(writes.position)
    }
    const { count } = writes
    return Effect.map(this.position, (position) => {
      writes.known = Math.max(writes.known, count)
      return writes.position = Role.later(writes.position, position)
    })
  }

  /** At least that of the last commit. It is asked again if its connection is lost. */
  get position(): Effect.Effect<Position, SqlError | PoolError<SqlError>> {
    const asked = this.#primary.use((connection) => Role.positionOf(sessionOf(connection), this.#controlTimeoutMillis))
    return Effect.retry(asked, { times: 2, while: isLost })
  }
}
