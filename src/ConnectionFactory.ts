/** What a pool asks of a driver. */
import type { Effect, Scope } from "effect"

/**
 * How to open, check and clean the connections of one pool.
 *
 * Only `connect` is needed. The effects run in fibers of the pool, each with a deadline of its own (`connectTimeout`,
 * `validateTimeout`, `resetTimeout`, `closeTimeout`), never in the fiber of a caller: a caller that is interrupted
 * while its connection is being opened costs no connection. The functions are called in the middle of the pool's own
 * work: they must return at once, do no I/O, and leave the pool alone. One that throws costs the connection, not the pool.
 *
 * ```ts
 * import { Data, Effect } from "effect"
 * import { ConnectionFactory } from "effect-connection-pool"
 *
 * declare class Session {
 *   static open(url: string): Promise<Session>
 *   readonly closed: boolean
 *   ping(): Promise<void>
 *   close(): Promise<void>
 * }
 * class SessionError extends Data.TaggedError("SessionError")<{ readonly cause: unknown }> {}
 *
 * export const factory = ConnectionFactory.make({
 *   connect: Effect.acquireRelease(
 *     Effect.tryPromise({ try: () => Session.open("db.internal"), catch: (cause) => new SessionError({ cause }) }),
 *     (session) => Effect.promise(() => session.close())
 *   ),
 *   isAlive: (session) => !session.closed,
 *   validate: (session) => Effect.isSuccess(Effect.tryPromise(() => session.ping()))
 * })
 * ```
 */
export interface ConnectionFactory<in out C, in out E = never, out R = never> {
  /**
   * Opens one connection. Closing the scope closes it, so `Effect.acquireRelease` belongs in here; whatever has been
   * acquired when the attempt fails, or runs into `connectTimeout`, is released as well.
   */
  readonly connect: Effect.Effect<C, E, R | Scope.Scope>
  /**
   * Whether the connection is known to be usable, judged without I/O. Asked before each lease and after each; a
   * connection that is not alive is evicted, and the caller gets another. Default: it always is.
   */
  readonly isAlive?: ((connection: C) => boolean) | undefined
  /**
   * Asks the database whether the connection still works. It does not if this is `false`, fails, or does not end
   * within `validateTimeout`. Runs before a lease if the connection was idle for `validateAfterIdle`, and on idle
   * connections every `keepalive`. Default: never asked.
   */
  readonly validate?: ((connection: C) => Effect.Effect<boolean, unknown>) | undefined
  /**
   * Makes a returned connection clean for the next caller: no transaction, no open cursor, session settings as they
   * were. The connection is closed instead if this fails or does not end within `resetTimeout`. Default: nothing.
   */
  readonly reset?: ((connection: C) => Effect.Effect<unknown, unknown>) | undefined
  /**
   * Whether `reset` has anything to do, judged without I/O, by asking the connection rather than by how its caller
   * ended. Default: it always has.
   */
  readonly needsReset?: ((connection: C) => boolean) | undefined
  /**
   * Called as a lease begins; the caller gets what it returns. A driver can hand out a view that it makes useless in
   * `endLease`, so that a caller cannot go on using a connection it has returned; `pool` is the name of the pool, for the
   * `LeaseExpiredError` that such a view answers with. Default: the connection itself.
   */
  readonly beginLease?: ((connection: C, pool: string) => C) | undefined
  /** Called as a lease ends, with what `beginLease` returned for it, before the connection is checked and reset. */
  readonly endLease?: ((lent: C) => void) | undefined
  /**
   * Whether another attempt may succeed where this one failed: a refused connection, a locked file. The pool then
   * tries again, with growing pauses, for as long as somebody waits or `min` is not reached. Any other failure goes
   * at once to the callers that no live connection can serve. Default: no failure is transient.
   */
  readonly isTransient?: ((error: E) => boolean) | undefined
}

/** A factory from its parts; only there for the types to be inferred. */
export const make = <C, E = never, R = never>(factory: ConnectionFactory<C, E, R>): ConnectionFactory<C, E, R> =>
  factory
