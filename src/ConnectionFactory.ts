/** What a pool asks of a driver. */
import { type Cause, Context, Effect, type Scope } from "effect"

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
   * Whether a transaction is open, as the connection knows without I/O. Asked when a lease ends and the connection has to
   * be reset: then somebody has begun a transaction by hand and left it open, which is a `TransactionLeftOpen` event and a
   * warning in the log. Default: never known.
   */
  readonly isInTransaction?: ((connection: C) => boolean) | undefined
  /**
   * Called as a lease begins; the caller gets what it returns. A driver can hand out a view that it makes useless in
   * `endLease`, so that a caller cannot go on using a connection it has returned; `pool` is the name of the pool, for the
   * `LeaseExpiredError` that such a view answers with. Default: the connection itself.
   */
  readonly beginLease?: ((connection: C, pool: string) => C) | undefined
  /** Called as a lease ends, with what `beginLease` returned for it, before the connection is checked and reset. */
  readonly endLease?: ((lent: C) => void) | undefined
  /**
   * What a failure under a lease says about the connection: whether the caller's effect failed, died or was interrupted.
   * Not asked after a success. A connection that is `suspect` is validated before anybody gets it again (and kept as it is
   * if the factory has no `validate`), one whose failure is `fatal` is evicted. Default: every failure makes it suspect.
   */
  readonly judge?: ((failure: Cause.Cause<unknown>) => Verdict) | undefined
  /**
   * Whether another attempt may succeed where this one failed: a refused connection, a locked file. The pool then
   * tries again, with growing pauses, for as long as somebody waits or `min` is not reached. Any other failure goes
   * at once to the callers that no live connection can serve; from the second such failure in a row on, also to those who
   * ask before the backoff is over, without another attempt. Default: no failure is transient.
   */
  readonly isTransient?: ((error: E) => boolean) | undefined
}

/**
 * What a failure says about the connection that was in use:
 *
 * - `healthy`: nothing; the database answered, or was not asked
 * - `suspect`: it may not work any more
 * - `fatal`: it does not work any more
 */
export type Verdict = "healthy" | "suspect" | "fatal"

/**
 * Tells the pool that the connection which is being opened is dead, now or at any later moment.
 *
 * It is there for each run of `connect`, which hands it to whatever learns of the death first, such as the `close` event of
 * a socket. An idle connection is evicted at once and replaced if `min` or somebody who waits asks for it, one in use when
 * it comes back. It may be called more than once, at any moment, also before the connection is open or after it was closed;
 * it returns at once and never throws. Outside a pool it does nothing. `make` gives it to a `connect` that is a function.
 */
export const Died: Context.Reference<() => void> = Context.Reference("effect-connection-pool/ConnectionFactory/Died", {
  defaultValue: () => () => {}
})

/** What a factory is made of: the same, but `connect` may be a function that is given `Died`. */
export interface Parts<in out C, in out E = never, in out R = never>
  extends Omit<ConnectionFactory<C, E, R>, "connect">
{
  readonly connect: Connect<C, E, R>
}

/** Opens one connection; the function is called for each, with what tells the pool of the death of that one. */
export type Connect<C, E = never, R = never> =
  | Effect.Effect<C, E, R | Scope.Scope>
  | ((died: () => void) => Effect.Effect<C, E, R | Scope.Scope>)

/**
 * A factory from its parts. Choose the function form of `connect` where the driver learns of the death of a connection.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ConnectionFactory } from "effect-connection-pool"
 * import { connect, type Socket } from "node:net"
 *
 * const open = Effect.callback<Socket, Error>((resume) => {
 *   const socket = connect({ host: "db.internal", port: 5432 }, () => resume(Effect.succeed(socket)))
 *   socket.once("error", (error) => resume(Effect.fail(error)))
 *   return Effect.sync(() => socket.destroy())
 * })
 *
 * export const factory = ConnectionFactory.make({
 *   connect: (died) =>
 *     Effect.acquireRelease(
 *       Effect.tap(open, (socket) => Effect.sync(() => socket.once("close", died))),
 *       (socket) => Effect.sync(() => socket.destroy())
 *     ),
 *   isAlive: (socket) => !socket.destroyed
 * })
 * ```
 */
export const make = <C, E = never, R = never>(
  parts: Parts<C, E, R>
): ConnectionFactory<C, E, Exclude<R, Scope.Scope>> => {
  const { connect } = parts
  const opens = Effect.isEffect(connect) ? connect : Effect.flatMap(Died, connect)
  return { ...parts, connect: opens as Effect.Effect<C, E, Exclude<R, Scope.Scope> | Scope.Scope> }
}
