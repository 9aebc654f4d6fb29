/**
 * Listens to channels on one connection for all listeners, which is opened for the first of them and closed after the last.
 *
 * If that connection is lost, each listener listens again on a new one, and says so.
 */
import type { Notification, PgConnection as Driver } from "@effect/sql-pg/PgConnection"
import { Clock, Deferred, Effect, Exit, Fiber, type Queue, RcRef, Schedule, Scope, Stream } from "effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { ConnectionPool } from "../../../ConnectionPool.ts"
import { show } from "../../../internal/options/show.ts"
import * as AsyncContext from "../../../internal/structures/asyncContext.ts"
import { forkWith, withoutSpan } from "../../../internal/structures/ownFibers.ts"
import { PoolClosedError, type PoolError } from "../../../PoolError.ts"
import { sessionOf } from "../connection/leased.ts"
import { processOf, type Session } from "../connection/session.ts"
import type { PgConnection } from "../contract/connection.ts"
import type { ListenEvent } from "../contract/listen.ts"
import { invalidInput } from "../errors.ts"
import { isLost, toSqlError } from "../sqlState.ts"

export interface Options {
  readonly name: string
  /** The pool of the connection that listens. */
  readonly pool: ConnectionPool<PgConnection, SqlError>
  /** How often the connection is asked whether it still works: a network that goes silent closes no socket. */
  readonly checkMillis: number
  /** How long it may take to answer that. */
  readonly checkTimeoutMillis: number
  /** How long the server may take to answer that a channel is listened to, or is not any more. */
  readonly controlTimeoutMillis: number
}

type Failure = SqlError | PoolError<SqlError>

export interface Listeners {
  readonly listen: (channel: string) => Stream.Stream<ListenEvent, Failure>
  /** Ends all streams with a `PoolClosedError`. */
  readonly close: Effect.Effect<void>
}

export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Listeners, never, Scope.Scope> {
  const { controlTimeoutMillis, name } = options
  const closed = Deferred.makeUnsafe<never, PoolClosedError>()
  const close = Effect.asVoid(Deferred.fail(closed, new PoolClosedError({ pool: name, phase: "closed" })))
  yield* Effect.addFinalizer(() => close)
  const own = yield* asOwn
  const shared: RcRef.RcRef<Opened, PoolError<SqlError>> = yield* RcRef.make({
    acquire: Effect.flatMap(
      Effect.scope,
      (scope) => own(Scope.provide(open(options, () => RcRef.invalidate(shared)), scope))
    )
  })
  const listen = (channel: string): Stream.Stream<ListenEvent, Failure> =>
    Stream.suspend(() => {
      // When the connection was lost on which somebody had listened last.
      let lostAt: number | undefined
      let hasListened = false
      const once = Stream.unwrap(Effect.gen(function*() {
        const { driver, session } = yield* RcRef.get(shared)
        const queue = yield* listenOn(session, driver, channel, controlTimeoutMillis)
        const now = yield* Clock.currentTimeMillis
        const listening: ListenEvent = {
          _tag: "Listening",
          channel,
          ...(lostAt === undefined ? undefined : { awayMillis: now - lostAt })
        }
        hasListened = true
        const notifications = Stream.map(Stream.fromQueue(queue), ({ payload, processId }): ListenEvent => ({
          _tag: "Notification",
          channel,
          payload,
          processId
        }))
        return Stream.concat(Stream.succeed(listening), Stream.mapError(notifications, toSqlError))
      }))
      const noted = Stream.tapError(once, () =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          // The attempts that fail after it are part of the same outage.
          if (hasListened) lostAt = now
          hasListened = false
        }))
      const again = Schedule.while(
        Schedule.spaced(pauseMillis),
        ({ input }) => Effect.succeed(lostAt !== undefined && mayListenAgain(input))
      )
      return Stream.interruptWhen(Stream.retry(noted, again), Deferred.await(closed))
    })
  return { listen, close }
})

/**
 * Listens to a channel for the scope. It is not interrupted, but has a deadline: a cancel may come late, and hit a statement of
 * others on the same session.
 */
export const listenOn = (
  session: Session,
  driver: Driver,
  channel: string,
  millis: number
): Effect.Effect<Queue.Dequeue<Notification, SqlError>, SqlError, Scope.Scope> => {
  if (channel === "" || channel.includes("\0") || !channel.isWellFormed()) {
    return Effect.fail(invalidInput("listen", `listen: the channel is ${show(channel)}, but must be ${mustBeChannel}`))
  }
  const begun = Effect.flatMap(Scope.make(), (scope) =>
    Effect.onError(
      Effect.map(
        session.within(
          "listen",
          Effect.andThen(
            session.keptFor("listen", channel, () => processOf(driver)),
            Scope.provide(driver.listen(channel), scope)
          ),
          millis
        ),
        (queue) => ({ queue, scope })
      ),
      () => Scope.close(scope, Exit.void)
    ))
  const listening = Effect.acquireRelease(
    begun,
    ({ scope }) => session.within("unlisten", Scope.close(scope, Exit.void), millis)
  )
  return Effect.mapBoth(listening, { onFailure: toSqlError, onSuccess: ({ queue }) => queue })
}

const mustBeChannel = "text of 1 to 63 bytes, without a zero character"

/**
 * Returns a function that runs an effect as the present fiber would, whoever asks for it. What is opened for the first listener stays
 * for the others: it must not keep alive, or work with, what that one had.
 */
const asOwn = Effect.map(Effect.context<never>(), (context) => {
  const fork = forkWith(withoutSpan(context), AsyncContext.capture())
  return <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const fiber = fork(effect)
        return Effect.onInterrupt(restore(Fiber.join(fiber)), () => Fiber.interrupt(fiber))
      })
    )
})

/** The connection for all listeners: its session, and the driver that is theirs alone. */
interface Opened {
  readonly session: Session
  readonly driver: Driver
}

/** Opens the connection for all listeners, for the scope. */
const open = (
  { checkMillis, checkTimeoutMillis, pool }: Options,
  invalidate: () => Effect.Effect<void>
): Effect.Effect<Opened, PoolError<SqlError>, Scope.Scope> =>
  Effect.gen(function*() {
    const session = sessionOf(yield* pool.acquire({ label: "listen" }))
    const pinned = yield* session.driver.pin
    yield* Effect.forkScoped(Effect.andThen(session.closed, Effect.suspend(invalidate)))
    // If it is not answered, the interrupt of this ends the session after `cancelTimeout`.
    const check = Effect.ignoreCause(Effect.timeout(pinned.query("select 1"), checkTimeoutMillis))
    yield* Effect.forkScoped(Effect.repeat(Effect.delay(check, checkMillis), Schedule.forever))
    return { session, driver: pinned }
  })

/** Whether a failure is one of the network or of a server that is away, and not of rights or names. */
const mayListenAgain = (error: unknown): boolean =>
  isSqlError(error) ? isLost(error) : (error as { readonly _tag?: string })._tag === "AcquireTimeoutError"

/** The backoff of the pool comes on top. */
const pauseMillis = 10
