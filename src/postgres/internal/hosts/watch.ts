/**
 * Asks all hosts for their role, again and again, on a session of its own for each.
 *
 * A round asks all hosts at the same time. Whoever finds no primary joins the round that is under way, or begins one.
 */
import { Clock, Deferred, Effect, Exit, Scope } from "effect"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { passed } from "../connection/deadline.ts"
import type { Session } from "../connection/session.ts"
import type { Address } from "../connection/wire.ts"
import { isLost, isTransient, sqlStateOf } from "../sqlState.ts"
import type { Cluster, Host } from "./cluster.ts"
import { ask } from "./role.ts"

export interface Options {
  readonly cluster: Cluster
  /** Opens a session for the current scope. */
  readonly open: (address: Address) => Effect.Effect<Session, SqlError, Scope.Scope>
  readonly intervalMillis: number
  /** How long a host may take to answer. */
  readonly timeoutMillis: number
}

export interface Watch {
  /** Asks all hosts, until each has answered or a primary is found that was promoted meanwhile. */
  readonly round: Effect.Effect<void>
  /** Stops asking, and closes the sessions for it. */
  readonly stop: Effect.Effect<void>
}

/** How often the hosts are asked while there is no primary. */
export const searchMillis = 100

/** Watches the hosts for the current scope. */
export const make = Effect.fnUntraced(
  function*({ cluster, intervalMillis, open, timeoutMillis }: Options): Effect.fn.Return<Watch, never, Scope.Scope> {
    const scope = yield* Scope.fork(yield* Effect.scope)
    const watchers = cluster.hosts.map((host) => new Watcher(host, cluster, open, timeoutMillis, scope))
    let underWay: Deferred.Deferred<void> | undefined

    const begin = Effect.suspend(() => {
      const found = Deferred.makeUnsafe<void>()
      const before = cluster.newest
      underWay = found
      const each = Effect.forEach(watchers, (watcher) =>
        Effect.map(watcher.look, () => {
          if (before !== 0 && cluster.newest > before && cluster.primary !== undefined) {
            Deferred.doneUnsafe(found, Effect.void)
          }
        }), { concurrency: "unbounded", discard: true })
      const ended = Effect.ensuring(
        each,
        Effect.sync(() => {
          if (underWay === found) underWay = undefined
          Deferred.doneUnsafe(found, Effect.void)
        })
      )
      return Effect.andThen(Effect.uninterruptible(Effect.forkIn(ended, scope)), Deferred.await(found))
    })
    const round = Effect.suspend(() => underWay === undefined ? begin : Deferred.await(underWay))

    const pause = Effect.suspend(() =>
      Effect.sleep(cluster.primary === undefined ? Math.min(searchMillis, intervalMillis) : intervalMillis)
    )
    yield* Effect.forkIn(Effect.forever(Effect.andThen(round, pause)), scope)
    return { round, stop: Scope.close(scope, Exit.void) }
  }
)

/** How long a host that goes on refusing is left alone. */
const mostAloneMillis = 10_000

/** Whether the host has answered, and refuses for good: the password, the role, the database or the certificate. */
const isRefusal = (error: SqlError): boolean =>
  !isTransient(error) && (sqlStateOf(error) !== undefined || error.reason._tag === "AuthenticationError")

/** Asks one host, on a session that it keeps. */
class Watcher {
  readonly #host: Host
  readonly #cluster: Cluster
  readonly #open: Options["open"]
  readonly #timeoutMillis: number
  readonly #scope: Scope.Scope
  #kept: { readonly session: Session; readonly scope: Scope.Closeable } | undefined = undefined
  /** Until when a host that has refused is left alone: each wrong password counts somewhere. */
  #leftAlone: { readonly millis: number; readonly until: number } | undefined = undefined

  constructor(
    host: Host,
    cluster: Cluster,
    open: Options["open"],
    timeoutMillis: number,
    scope: Scope.Scope
  ) {
    this.#host = host
    this.#cluster = cluster
    this.#open = open
    this.#timeoutMillis = timeoutMillis
    this.#scope = scope
  }

  /** Asks, and notes the answer. */
  get look(): Effect.Effect<void> {
    return Effect.flatMap(nowMillis, (begun) => {
      if (this.#leftAlone !== undefined && begun < this.#leftAlone.until) return Effect.void
      const wasOpen = this.#kept !== undefined
      const once = Effect.flatMap(this.#session, ask)
      // A session that was lost since the last round says nothing about the host.
      const asked = wasOpen ? Effect.catchIf(once, isLost, () => Effect.andThen(this.#drop, once)) : once
      const late = Effect.andThen(passed(this.#timeoutMillis), Effect.fail(unanswered(this.#timeoutMillis)))
      const limited = Effect.raceFirst(asked, late)
      return Effect.flatMap(Effect.result(limited), (result) =>
        Effect.flatMap(nowMillis, (now) => {
          if (result._tag === "Success") {
            this.#leftAlone = undefined
            this.#cluster.answered(this.#host, result.success, now)
            return Effect.void
          }
          const error = result.failure
          const millis = Math.min(2 * (this.#leftAlone?.millis ?? searchMillis), mostAloneMillis)
          this.#leftAlone = isRefusal(error) ? { millis, until: now + millis } : undefined
          this.#cluster.silent(this.#host, error.message, !isTransient(error), now)
          return this.#drop
        }))
    })
  }

  get #session(): Effect.Effect<Session, SqlError> {
    return Effect.suspend(() => {
      if (this.#kept?.session.isAlive === true) return Effect.succeed(this.#kept.session)
      return Effect.andThen(
        this.#drop,
        Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(Scope.fork(this.#scope), (scope) =>
            Effect.onError(
              Effect.map(restore(Scope.provide(this.#open(this.#host.address), scope)), (session) => {
                this.#kept = { session, scope }
                return session
              }),
              () => Scope.close(scope, Exit.void)
            ))
        )
      )
    })
  }

  /** Closes the session, while others go on. */
  get #drop(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const kept = this.#kept
      this.#kept = undefined
      if (kept === undefined) return Effect.void
      kept.session.abort("its host does not answer")
      return Effect.asVoid(Effect.forkIn(Scope.close(kept.scope, Exit.void), this.#scope))
    })
  }
}

/** The time for durations. */
export const nowMillis: Effect.Effect<number> = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

const unanswered = (millis: number): SqlError => {
  const message = `it has not answered within ${millis} ms`
  return new SqlError({
    reason: new ConnectionError({ cause: Object.assign(new Error(message), { code: "ETIMEDOUT" }), message })
  })
}
