/** A connection to SQLite in a thread of its own, and the connection that a lease has of it. All of it is asynchronous. */
import { Array as Arr, Cause, Channel, Deferred, Effect, Exit, type Pull, Scope, Stream } from "effect"
import { SafeIntegers } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { postponeInterrupt } from "../../../internal/runtime.ts"
import { LeaseExpiredError } from "../../../PoolError.ts"
import type { Pin, Pinning } from "../connection/pin.ts"
import { mayStartLater, retryWhileLocked } from "../connection/retryWhileLocked.ts"
import type { AsyncConnection } from "../contract/connection.ts"
import type { Params, Row, RunResult, Value } from "../contract/values.ts"
import { codeOf, exitOf, failure } from "../errors.ts"
import { isReadOnly, StatementTexts } from "../sql/statementKind.ts"
import { decodeFailure } from "./failureData.ts"
import type { Host } from "./host.ts"
import type { Pending, Receiver } from "./pending.ts"
import type { Controls, Executed, Way } from "./protocol.ts"
import { request } from "./request.ts"
import { toObjects } from "./rows.ts"
import type { Thread } from "./thread.ts"

export type OperationError = SqlError | LeaseExpiredError

const texts = new StatementTexts()

/** A statement of `sql`. */
export interface StatementOf {
  readonly operation: string
  readonly way: Way
  readonly sql: string
  readonly params: Params | undefined
  readonly bigInts: boolean
  /** Whether its lease is for it alone: see `Handle.rows`. */
  readonly isAlone: boolean
}

/** The connection of one lease: its operations fail once the lease has ended. */
export class WorkerLeased implements AsyncConnection, Pinning {
  /** The thread, which is there longer than the lease. */
  readonly thread: Thread
  /** Its pin, if the time is limited for which it may pin a state of the database. */
  pin: Pin | undefined = undefined
  /** Whether its statements store something by themselves. Not in a transaction that this library ends. */
  mayStore = true
  readonly #host: Host
  readonly #busyTimeoutMillis: number
  readonly #pool: string | undefined
  #hasEnded = false
  #reason: string | undefined

  /** Outside of transactions, a statement that meets the lock of another process is tried again for the timeout. */
  constructor(thread: Thread, busyTimeoutMillis: number, pool: string | undefined) {
    this.thread = thread
    this.#host = thread.host
    this.#busyTimeoutMillis = busyTimeoutMillis
    this.#pool = pool
  }

  /** Whether the lease has ended. */
  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** Why this library has ended the lease, if it has. */
  get reason(): string | undefined {
    return this.#reason
  }

  /** Ends the lease. What it has asked for and has not got is cancelled, and fails if somebody still waits for it. */
  expire(reason?: string): void {
    this.#hasEnded = true
    this.#reason ??= reason
    this.#host.failAll((operation) => this.#expired(operation))
  }

  /** Whether it pins a state, as far as the thread has told: in a transaction, or by a stream. */
  get isPinning(): boolean {
    return this.#host.state.isPinning
  }

  get mayPin(): boolean {
    return this.#host.mayPin
  }

  /** Ends the lease, its transaction and its cursors now: its caller may keep it for long. Nobody waits for that. */
  revoke(reason: string): void {
    this.expire(reason)
    this.#host.control("rollback", [], nobody)
  }

  query(sql: string, params?: Params) {
    return this.#rows("query", sql, params, (rows, columns) => toObjects(rows, columns) as Array<Row>)
  }

  values(sql: string, params?: Params) {
    return this.#rows("values", sql, params, (rows) => rows as ReadonlyArray<ReadonlyArray<Value>>)
  }

  run(sql: string, params?: Params) {
    return this.#persist(Effect.withFiber<RunResult, OperationError>((fiber) => {
      const bigInts = fiber.getRef(SafeIntegers)
      return this.#statement("run", "result", sql, params, bigInts, () => {}, (value) => value as RunResult)
    }))
  }

  exec(script: string) {
    return Effect.suspend(() => {
      // A statement of the script that has run is not run again.
      let done = 0
      const once = Effect.flatMap(this.control("exec", "exec", () => ["exec", script, done]), (value) => {
        const executed = value as Executed
        done = executed.done
        return executed.failure === undefined ? Effect.void : Effect.fail(failure(decodeFailure(executed.failure)))
      })
      return this.#persist(once)
    })
  }

  /** Runs a statement of `sql`. Its failure is a `SqlError` of that operation. */
  execute<A>(
    { bigInts, isAlone, operation, params, sql, way }: StatementOf,
    take: (rows: ReadonlyArray<ReadonlyArray<unknown>>, columns: ReadonlyArray<string>) => void,
    value: (value: unknown) => A
  ): Effect.Effect<A, OperationError> {
    return this.#statement(operation, way, sql, params, bigInts, take, value, isAlone)
  }

  get isTransaction() {
    return Effect.map(this.control("isTransaction", "isTransaction", () => []), (value) => value as boolean)
  }

  /** Fails at once if the database is locked: unlike the other operations, it does not try again. `isAlone`: see `StatementOf`. */
  stream(sql: string, params?: Params, isAlone = false): Stream.Stream<Row, OperationError> {
    return Stream.fromChannel(
      Channel.fromTransformBracket((_, __, scope) =>
        Effect.withFiber((fiber) =>
          Effect.suspend(() => {
            const bigInts = fiber.getRef(SafeIntegers)
            const chunks = new Chunks(this.#host, this.mayStore && !isReadOnly(texts.read(sql)))
            // In the other order, an interrupt between the two steps would leave the statement open.
            return Effect.as(
              Effect.andThen(
                Scope.addFinalizer(scope, chunks.close),
                Effect.suspend(() => {
                  const expired = this.#expired("stream")
                  if (expired !== undefined) return Effect.fail(expired)
                  chunks.open((receiver) =>
                    this.#host.statement(
                      {
                        operation: "stream",
                        way: "rows",
                        sql,
                        params,
                        bigInts,
                        isAlone,
                        isStream: true,
                        mayStore: this.mayStore
                      },
                      receiver
                    )
                  )
                  return Effect.void
                })
              ),
              Effect.suspend(() => {
                const expired = this.#expired("stream")
                return expired === undefined ? chunks.pull : Effect.fail(expired)
              })
            )
          })
        )
      )
    )
  }

  #rows<A>(
    operation: string,
    sql: string,
    params: Params | undefined,
    made: (rows: ReadonlyArray<ReadonlyArray<unknown>>, columns: ReadonlyArray<string>) => ReadonlyArray<A>
  ): Effect.Effect<ReadonlyArray<A>, OperationError> {
    return this.#persist(Effect.withFiber<ReadonlyArray<A>, OperationError>((fiber) => {
      const bigInts = fiber.getRef(SafeIntegers)
      let all: Array<A> | undefined
      return this.#statement(operation, "rows", sql, params, bigInts, (rows, columns) => {
        const more = made(rows, columns)
        if (all === undefined) all = more as Array<A>
        else for (const row of more) all.push(row)
      }, () => all ?? [])
    }))
  }

  #statement<A>(
    operation: string,
    way: Way,
    sql: string,
    params: Params | undefined,
    bigInts: boolean,
    take: (rows: ReadonlyArray<ReadonlyArray<unknown>>, columns: ReadonlyArray<string>) => void,
    value: (value: unknown) => A,
    isAlone = false
  ): Effect.Effect<A, OperationError> {
    const expired = this.#expired(operation)
    if (expired !== undefined) return Effect.fail(expired)
    const statement = { operation, way, sql, params, bigInts, isAlone, isStream: false, mayStore: this.mayStore }
    return request({
      host: this.#host,
      operation,
      begin: (receiver) => this.#host.statement(statement, receiver),
      take,
      value
    })
  }

  /** Runs an operation of the connection itself, unless the lease has ended. `params` are asked for when it begins. */
  control<Name extends keyof Controls>(
    operation: string,
    name: Name,
    params: () => Parameters<Controls[Name]>
  ): Effect.Effect<unknown, OperationError> {
    return Effect.suspend(() => {
      const expired = this.#expired(operation)
      if (expired !== undefined) return Effect.fail(expired)
      const mayStore = name === "commit" || (name === "exec" && this.mayStore)
      return control(this.#host, operation, name, params(), mayStore)
    })
  }

  #persist<A>(once: Effect.Effect<A, OperationError>): Effect.Effect<A, OperationError> {
    return this.#busyTimeoutMillis === 0
      ? once
      : retryWhileLocked(once, this.#busyTimeoutMillis, {
        // In a transaction, another try would not help.
        isWorthwhile: (code) => mayStartLater(code) && !this.#host.state.isTransaction
      })
  }

  #expired(operation: string): LeaseExpiredError | undefined {
    if (!this.#hasEnded) return undefined
    return new LeaseExpiredError({
      ...(this.#pool === undefined ? undefined : { pool: this.#pool }),
      operation,
      ...(this.#reason === undefined ? undefined : { reason: this.#reason })
    })
  }
}

const nothing = () => {}

/** Receives answers that nobody waits for. */
export const nobody: Receiver = { rows: nothing, ended: nothing, failed: nothing, cancelled: nothing }

/** Whether a connection can read the file. If another process has locked the file, the answer is yes. */
export const answers = (connection: WorkerLeased): Effect.Effect<boolean> =>
  Effect.match(connection.values("select 1 from sqlite_schema limit 1"), {
    onSuccess: () => true,
    onFailure: (error) => mayStartLater(codeOf(error))
  })

/** Runs an operation of the connection itself. */
export const control = <Name extends keyof Controls>(
  host: Host,
  operation: string,
  name: Name,
  params: Parameters<Controls[Name]>,
  mayStore = false
): Effect.Effect<unknown, OperationError> =>
  request({
    host,
    operation,
    begin: (receiver) => host.control(name, params, receiver, mayStore),
    take: () => {},
    value: (value) => value
  })

/** The chunks of a stream that have arrived and were not taken. */
class Chunks {
  readonly #host: Host
  readonly #chunks: Array<Array<Row>> = []
  #pending: Pending | undefined = undefined
  readonly #mayStore: boolean
  /** Whether the reader has got rows. */
  #isRead = false
  #end: Exit.Exit<void, OperationError> | undefined = undefined
  #arrived: Deferred.Deferred<void> | undefined = undefined

  constructor(host: Host, mayStore: boolean) {
    this.#host = host
    this.#mayStore = mayStore
  }

  open(begin: (receiver: Parameters<Host["statement"]>[1]) => Pending): void {
    this.#pending = begin({
      rows: (rows, columns) => {
        this.#chunks.push(toObjects(rows, columns) as Array<Row>)
        this.#wake()
      },
      ended: () => this.#ended(Exit.void),
      failed: (thrown) => this.#ended(exitOf(thrown)),
      cancelled: () => this.#ended(Exit.void)
    })
  }

  /**
   * Ends the statement. If it writes and the reader has got rows, it has written, as in process, and this waits until that is
   * stored. Otherwise it is cancelled.
   */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.#chunks.length = 0
    const pending = this.#pending
    if (this.#end !== undefined || pending === undefined) return Effect.void
    if (!this.#mayStore || !this.#isRead) {
      this.#host.cancel(pending)
      return Effect.void
    }
    this.#host.finish(pending)
    return this.#hasEnded
  })

  readonly #hasEnded: Effect.Effect<void> = Effect.suspend(() => {
    if (this.#end !== undefined) return Effect.void
    this.#arrived = Deferred.makeUnsafe<void>()
    return Effect.andThen(Deferred.await(this.#arrived), this.#hasEnded)
  })

  readonly pull: Pull.Pull<Arr.NonEmptyReadonlyArray<Row>, OperationError> = Effect.suspend(() => {
    const chunk = this.#chunks.shift()
    if (chunk !== undefined && Arr.isArrayNonEmpty(chunk)) {
      this.#isRead = true
      if (this.#end === undefined) this.#host.credit(this.#pending!, 1)
      return Effect.succeed(chunk)
    }
    if (this.#end !== undefined) return Exit.isSuccess(this.#end) ? Cause.done() : Effect.failCause(this.#end.cause)
    return Effect.andThen(this.#next(Deferred.makeUnsafe<void>()), this.pull)
  })

  /** Waits for a chunk, or for the end. If a statement that writes is being committed, an interrupt comes too late. */
  #next(arrived: Deferred.Deferred<void>): Effect.Effect<void> {
    this.#arrived = arrived
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.exit(restore(Deferred.await(arrived))), (exit) => {
        if (Exit.isSuccess(exit) || this.#host.cancel(this.#pending!)) return exit
        return Effect.andThen(
          Deferred.await(arrived),
          Effect.withFiber((fiber) => {
            postponeInterrupt(fiber, restore)
            return Effect.void
          })
        )
      })
    )
  }

  #ended(exit: Exit.Exit<void, OperationError>): void {
    // What was failed on this side is answered as cancelled afterwards.
    this.#end ??= exit
    this.#wake()
  }

  #wake(): void {
    const arrived = this.#arrived
    // The reader may go on at once, and wait again.
    this.#arrived = undefined
    if (arrived !== undefined) Deferred.doneUnsafe(arrived, Exit.void)
  }
}
