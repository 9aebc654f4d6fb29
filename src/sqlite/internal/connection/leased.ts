/** The connection that a lease has, and functions with which this library reaches the handle behind it. */
import { Array as Arr, Cause, Channel, Effect, Exit, Scope, Stream } from "effect"
import { SafeIntegers } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { DatabaseSync } from "node:sqlite"
import * as Body from "../../../internal/pool/body.ts"
import { LeaseExpiredError } from "../../../PoolError.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import type { Params, Row, SyncOptions, Value } from "../contract/values.ts"
import { codeOf, failure } from "../errors.ts"
import { invalidInput } from "../failures.ts"
import type { Cursor } from "./cursor.ts"
import type { Handle } from "./handle.ts"
import type { Pin, Pinning } from "./pin.ts"
import { mayStartLater, retryWhileLocked } from "./retryWhileLocked.ts"

/** The connection of one lease: its operations fail once the lease has ended. */
export class Leased implements SqliteConnection, Pinning {
  #handle: Handle | undefined
  readonly #waits: boolean
  readonly #pool: string | undefined
  /** Why this library has ended the lease, if it has. */
  #reason: string | undefined
  /** Its pin, if the time is limited for which it may pin a state of the database. */
  pin: Pin | undefined = undefined

  constructor(handle: Handle, waits: boolean, pool: string | undefined) {
    this.#handle = handle
    this.#waits = waits
    this.#pool = pool
  }

  expire(reason?: string): void {
    this.#handle = undefined
    this.#reason ??= reason
  }

  handle(operation: string): Handle {
    if (this.#handle === undefined) throw this.#expired(operation)
    return this.#handle
  }

  get isPinning(): boolean {
    return this.handle("lease").isPinning
  }

  get mayPin(): boolean {
    return this.isPinning
  }

  revoke(reason: string): void {
    const handle = this.handle("lease")
    this.expire(reason)
    handle.afterwards(() => {
      handle.closeCursors()
      handle.rollback("revoke")
    })
  }

  /** The same connection for another, whose use of it ends before this lease. */
  again(): Leased {
    return new Leased(this.handle("lease"), this.#waits, this.#pool)
  }

  /** How long to retry after a lock. 0 in a transaction, where a retry would not help. */
  busyTimeoutMillis(error: SqlError | LeaseExpiredError): number {
    if (!this.#waits || this.#handle === undefined || !mayStartLater(codeOf(error))) return 0
    return this.#handle.isTransaction("wait") ? 0 : this.#handle.settings.busyTimeout
  }

  /** Why this library has ended the lease, if it has. */
  get reason(): string | undefined {
    return this.#reason
  }

  #expired(operation: string): LeaseExpiredError {
    return new LeaseExpiredError({
      ...(this.#pool === undefined ? undefined : { pool: this.#pool }),
      operation,
      ...(this.#reason === undefined ? undefined : { reason: this.#reason })
    })
  }

  query(sql: string, params?: Params) {
    return inOneStep(
      (bigInts) => this.handle("query").rows("query", sql, params, false, bigInts) as Array<Row>,
      this
    )
  }

  values(sql: string, params?: Params) {
    return inOneStep(
      (bigInts) => this.handle("values").rows("values", sql, params, true, bigInts) as Array<Array<Value>>,
      this
    )
  }

  run(sql: string, params?: Params) {
    return inOneStep((bigInts) => this.handle("run").run("run", sql, params, bigInts), this)
  }

  exec(script: string) {
    if (!this.#waits) return inOneStep(() => this.handle("exec").exec("exec", script))
    // A statement of the script that has run is not run again.
    return Effect.suspend(() => {
      const progress = { done: 0 }
      return inOneStep(() => this.handle("exec").exec("exec", script, progress), this)
    })
  }

  stream(sql: string, params?: Params) {
    return this.streamAs(sql, params, false)
  }

  /** With `isAlone`, a statement is refused if its effect would end with the lease. */
  streamAs(
    sql: string,
    params: Params | undefined,
    isAlone: boolean
  ): Stream.Stream<Row, SqlError | LeaseExpiredError> {
    return Stream.fromChannel(Channel.fromTransformBracket((_, __, scope) => {
      let cursor: Cursor | undefined
      const read = inOneStep(() => {
        this.handle("stream")
        return cursor!.read(rowsAtATime) as Array<Row>
      }).pipe(Effect.flatMap((rows) => Arr.isArrayNonEmpty(rows) ? Exit.succeed(rows) : Cause.done()))
      const open = inOneStep((bigInts) => {
        const opened = this.handle("stream").cursor("stream", sql, params, bigInts, isAlone)
        cursor = opened
        let isFirst = true
        return Effect.suspend(() => {
          if (!isFirst && opened.isOpen) return Effect.andThen(Effect.yieldNow, read)
          isFirst = false
          return read
        })
      })
      // In the other order, an interrupt between the two steps would leave the cursor open.
      return Effect.andThen(Scope.addFinalizer(scope, Effect.sync(() => cursor?.close())), open)
    }))
  }

  get isTransaction() {
    return inOneStep(() => this.handle("isTransaction").isTransaction("isTransaction"))
  }

  queryUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    try {
      return this.handle("queryUnsafe").rows("queryUnsafe", sql, params, false, wantsBigInts(options)) as Array<Row>
    } catch (thrown) {
      throw failure(thrown)
    }
  }

  valuesUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    try {
      const rows = this.handle("valuesUnsafe").rows("valuesUnsafe", sql, params, true, wantsBigInts(options))
      return rows as Array<Array<Value>>
    } catch (thrown) {
      throw failure(thrown)
    }
  }

  runUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    try {
      return this.handle("runUnsafe").run("runUnsafe", sql, params, wantsBigInts(options))
    } catch (thrown) {
      throw failure(thrown)
    }
  }

  execUnsafe(script: string) {
    try {
      this.handle("execUnsafe").exec("execUnsafe", script)
    } catch (thrown) {
      throw failure(thrown)
    }
  }

  isTransactionUnsafe() {
    try {
      return this.handle("isTransactionUnsafe").isTransaction("isTransactionUnsafe")
    } catch (thrown) {
      throw failure(thrown)
    }
  }
}

const rowsAtATime = 256

const wantsBigInts = (options: SyncOptions | undefined): boolean => options?.safeIntegers === true

/** Runs an operation in one step. If it meets a lock, `leased` decides how long to retry. */
const inOneStep = <A>(
  operation: (bigInts: boolean) => A,
  leased?: Leased
): Effect.Effect<A, SqlError | LeaseExpiredError> =>
  Effect.withFiber((fiber) => {
    const bigInts = fiber.getRef(SafeIntegers)
    try {
      return Exit.succeed(operation(bigInts))
    } catch (thrown) {
      const error = failure(thrown)
      const timeoutMillis = leased === undefined ? 0 : leased.busyTimeoutMillis(error)
      return timeoutMillis === 0
        ? Exit.fail(error)
        : retryWhileLocked(Effect.try({ try: () => operation(bigInts), catch: failure }), timeoutMillis, {
          isWorthwhile: mayStartLater
        })
    }
  })

/**
 * The handle behind a connection. Throws once the lease has ended. The connection that the pool keeps never ends.
 *
 * The cast is right, because every connection that the factories of this library make is a `Leased`.
 */
export const handleOf = (connection: SqliteConnection, operation = "lease"): Handle =>
  (connection as Leased).handle(operation)

/** The connection of a lease for one of several that use it one after the other: see `Leased.again`. */
export const viewOf = (leased: SqliteConnection): Leased => (leased as Leased).again()

/** Streams the rows of a statement. With `isAlone`, a statement is refused if its effect would end with the lease. */
export const streamOn = (
  connection: SqliteConnection,
  sql: string,
  params: Params | undefined,
  isAlone: boolean
): Stream.Stream<Row, SqlError | LeaseExpiredError> => (connection as Leased).streamAs(sql, params, isAlone)

/**
 * Lends the driver's own handle to a body. Fails for a connection inside a transaction, for a reader in memory, and for
 * the drop-in client.
 */
export const withHandle = <A, E, R>(
  connection: object,
  body: (database: DatabaseSync) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError | LeaseExpiredError, R> =>
  Effect.acquireUseRelease(
    Effect.try({
      try: () => {
        if (!(connection instanceof Leased)) throw invalidInput("withHandle", notLeased)
        const handle = connection.handle("withHandle")
        const { isMemory, lasting } = handle.settings
        if (lasting !== undefined) throw invalidInput("withHandle", lasts)
        const assert = (operation: string) => {
          try {
            connection.handle(operation).assertFree(operation)
          } catch (thrown) {
            throw failure(thrown)
          }
        }
        return { handle, exposed: handle.expose("withHandle", { assert, isMemory }) }
      },
      catch: failure
    }),
    ({ exposed }) => Body.run(body, exposed.database),
    ({ exposed, handle }) => Effect.sync(() => handle.concealed(exposed))
  )

const notLeased =
  "withHandle: it needs a connection from write, or from read of a file, and not inside of a transaction"

const lasts = "withHandle: not with the client of sqlite-node, where changes of the connection last: open a SqlitePool"

/** The pin of a lease, if its age is limited. */
export const pinOf = (leased: SqliteConnection): Pin | undefined => (leased as Leased).pin

/** The connection of a lease, as something that may pin a state of the database. */
export const pinningOf = (leased: SqliteConnection): Pinning => leased as Leased

/** Why this library has ended a lease, if it has. */
export const reasonOf = (leased: SqliteConnection): string | undefined => (leased as Leased).reason
