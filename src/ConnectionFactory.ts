/** Connection factories: what a driver gives to a pool. */
import { type Cause, Context, Effect, type Scope, type Stream } from "effect"

/**
 * How to open, validate and reset the connections of one pool.
 *
 * Only `connect` is required. The effects run in fibers of the pool, each with its own deadline (`connectTimeout`,
 * `validateTimeout`, `resetTimeout`, `closeTimeout`). They never run in the fiber of a caller, so interrupting a caller
 * loses no connection. The plain functions are called in the middle of the pool's work: they must return at once, do no
 * I/O, and not use the pool. If one throws, its connection is evicted, and the pool goes on.
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
   * Opens one connection. The end of the scope closes it, so use `Effect.acquireRelease` here. If the connect attempt
   * fails, or passes `connectTimeout`, everything that it has acquired is released.
   */
  readonly connect: Effect.Effect<C, E, R | Scope.Scope>
  /**
   * Whether the connection is usable, as far as the driver knows without I/O. Called before and after each lease. If it
   * is not alive, it is evicted, and the caller gets another. Default: always alive.
   */
  readonly isAlive?: ((connection: C) => boolean) | undefined
  /**
   * Asks the database whether the connection still works. The connection is evicted if the answer is `false`, or if
   * this fails or does not end within `validateTimeout`. Runs before a lease if the connection was idle for
   * `validateAfterIdle`, and on idle connections every `keepalive`. Default: connections are not validated.
   */
  readonly validate?: ((connection: C) => Effect.Effect<boolean, unknown>) | undefined
  /**
   * Makes a returned connection clean for the next caller: it ends the transaction and the cursors, and restores the
   * settings of the session. The connection is closed if this fails or does not end within `resetTimeout`. Default:
   * nothing is done.
   */
  readonly reset?: ((connection: C) => Effect.Effect<unknown, unknown>) | undefined
  /**
   * Whether `reset` has anything to do, as far as the driver knows without I/O. Ask the connection; how the caller
   * ended does not matter. Default: `reset` always runs.
   */
  readonly needsReset?: ((connection: C) => boolean) | undefined
  /**
   * Whether a transaction is open, as far as the driver knows without I/O. Called when a lease ends and the connection
   * has to be reset. If one is open, its holder has begun it by hand and left it open: that is a `TransactionLeftOpen`
   * event and a warning in the log. Default: not known.
   */
  readonly isInTransaction?: ((connection: C) => boolean) | undefined
  /**
   * Called when a lease begins. The caller gets the result. A driver can return a view of the connection and make it
   * useless in `endLease`, so that a caller cannot use a connection that it has returned. `pool` is the name of the
   * pool, for the `LeaseExpiredError` of such a view. Default: the caller gets the connection itself.
   */
  readonly beginLease?: ((connection: C, pool: string) => C) | undefined
  /** Called when a lease ends, with the result of `beginLease`, before the connection is judged and reset. */
  readonly endLease?: ((lent: C) => void) | undefined
  /**
   * What of a lease still runs on the connection when the lease ends: a statement that was interrupted and cannot be
   * stopped, or whose end was not seen yet. Asked at the end of every lease, after `endLease`, in the same step, so answer
   * from what the driver knows. If something runs, the connection is abandoned: the caller goes on at once, the connection
   * counts against `max` and is not lent until that has ended, and callers who wait may get a replacement (`maxAbandoned`).
   * Default: nothing runs.
   */
  readonly unfinished?: ((connection: C) => Unfinished | undefined) | undefined
  /**
   * What a failure of the caller's effect says about the connection. The cause may be a failure, a defect or an
   * interrupt. Not called after a success. A `suspect` connection is validated before the next lease, or kept as it is
   * if the factory has no `validate`. After a `fatal` failure it is evicted. Default: every failure makes it suspect.
   */
  readonly judge?: ((failure: Cause.Cause<unknown>) => Verdict) | undefined
  /**
   * Whether another connect attempt may succeed after this failure, such as a refused connection or a locked file. Then
   * the pool tries again with a growing backoff, while a caller waits or `min` is not reached. Any other failure goes
   * at once to the callers that no open connection can serve. After two such failures in a row, callers that ask before
   * the backoff is over also get it, without another attempt. Default: no failure is transient.
   */
  readonly isTransient?: ((error: E) => boolean) | undefined
}

/** What still runs on a connection after its lease: see `unfinished` of a factory. */
export interface Unfinished {
  /**
   * Ends when nothing of the lease runs any more. Then the pool does what it does when a lease ends: it asks `isAlive` and
   * `needsReset`, resets and validates the connection if it has to, and lends it again. If this fails, the connection is
   * evicted (`abandoned`).
   *
   * It has no deadline of the pool. Give it one if the answer may never come, and fail then. It runs in a fiber of the pool
   * and is run once. It is interrupted if a shutdown does not wait any longer, or if the driver calls `died`: then the
   * connection is closed. If everything has ended before it runs, it ends at once.
   */
  readonly settled: Effect.Effect<unknown, unknown>
  /** What runs, as text for people, such as a statement. It is in timeout errors, events and the report of a shutdown. */
  readonly description?: string | undefined
}

/**
 * What a failure says about the connection that was in use:
 *
 * - `healthy`: it still works; the database answered, or was not asked
 * - `suspect`: it may not work any more
 * - `fatal`: it does not work any more
 */
export type Verdict = "healthy" | "suspect" | "fatal"

/**
 * A function that tells the pool that a connection is dead.
 *
 * Each run of `connect` has its own. Give it to whatever notices the death first, such as the `close` event of a
 * socket. Then an idle connection is evicted at once, and replaced if a caller waits or `min` requires it. A connection
 * in use is evicted when it comes back. The function may be called at any time, and more than once: also before the
 * connection is open, and after it was closed. It returns at once and never throws. Outside a pool it does nothing.
 * `make` passes it to a `connect` that is a function.
 */
export const Died: Context.Reference<() => void> = Context.Reference("effect-connection-pool/ConnectionFactory/Died", {
  defaultValue: () => () => {}
})

/**
 * Tells the pool of the statements that one connection runs, so that holders, leak reports and timeout errors name them, and
 * slow ones are reported (`slowStatement`).
 *
 * `text` is the text of the statement, without its parameters. A failed statement counts like any other. Outside a pool
 * these functions only run what they are given.
 */
export interface Statements {
  /** Whether the pool measures statements: whether `slowStatement` is set. If not, it only notes which statement runs. */
  readonly isMeasured: boolean
  /** An effect that runs a statement. It takes from the start of the effect to its end. */
  readonly run: <A, E, R>(text: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Runs a statement in one step, while everything else in this process waits. Statements must not run inside another. */
  readonly runSync: <A>(text: string, f: () => A) => A
  /** A stream of the rows of a statement. It takes as long as its reader waits for rows, all together. */
  readonly stream: <A, E, R>(text: string, stream: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R>
}

/**
 * The `Statements` of the connection that `connect` opens. Each run of `connect` has its own.
 *
 * ```ts
 * import { Data, Effect } from "effect"
 * import { ConnectionFactory } from "effect-connection-pool"
 *
 * declare class Session {
 *   static open(url: string): Promise<Session>
 *   query(sql: string, params: ReadonlyArray<unknown>): Promise<ReadonlyArray<object>>
 *   close(): Promise<void>
 * }
 * class SessionError extends Data.TaggedError("SessionError")<{ readonly cause: unknown }> {}
 *
 * function attempt<A>(f: () => Promise<A>) {
 *   return Effect.tryPromise({ try: f, catch: (cause) => new SessionError({ cause }) })
 * }
 *
 * export const factory = ConnectionFactory.make({
 *   connect: Effect.gen(function*() {
 *     const statements = yield* ConnectionFactory.Statements
 *     const session = yield* Effect.acquireRelease(
 *       attempt(() => Session.open("db.internal")),
 *       (session) => Effect.promise(() => session.close())
 *     )
 *     return {
 *       query: (sql: string, params: ReadonlyArray<unknown>) =>
 *         statements.run(sql, attempt(() => session.query(sql, params)))
 *     }
 *   })
 * })
 * ```
 */
export const Statements: Context.Reference<Statements> = Context.Reference(
  "effect-connection-pool/ConnectionFactory/Statements",
  {
    defaultValue: (): Statements => ({
      isMeasured: false,
      run: (_, effect) => effect,
      runSync: (_, f) => f(),
      stream: (_, stream) => stream
    })
  }
)

/** The parts of a factory. `connect` may be a function that gets `Died`. */
export interface Parts<in out C, in out E = never, in out R = never>
  extends Omit<ConnectionFactory<C, E, R>, "connect">
{
  readonly connect: Connect<C, E, R>
}

/** Opens one connection. A function is called for each connection, and gets the `Died` of that connection. */
export type Connect<C, E = never, R = never> =
  | Effect.Effect<C, E, R | Scope.Scope>
  | ((died: () => void) => Effect.Effect<C, E, R | Scope.Scope>)

/**
 * Makes a factory from its parts. Choose a function as `connect` if the driver notices the death of a connection.
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
