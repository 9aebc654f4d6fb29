/**
 * Work that changes the database in one step: single statements of `sql`, and functions given to `writeSync`.
 *
 * With a group, the work of callers that ask at the same time is committed together: see `Group`. Each caller gets the
 * answer that it would get alone. If the work of one caller fails, only that work is undone. A failure that concerns all
 * of them (a commit fails, or SQLite ends the transaction) undoes the work of all, and it runs again one by one. That is
 * safe because no caller has been answered yet.
 */
import { Effect, Exit, type Fiber } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions } from "../../../ConnectionPool.ts"
import * as Body from "../../../internal/pool/body.ts"
import * as Door from "../../../internal/pool/door.ts"
import type { Driver, Group, Member, Others, Outcome } from "../../../internal/pool/groups.ts"
import { asFiber, within } from "../../../internal/runtime.ts"
import * as AsyncContext from "../../../internal/structures/asyncContext.ts"
import type { LeaseExpiredError, PoolError } from "../../../PoolError.ts"
import type { Handle } from "../connection/handle.ts"
import { handleOf, viewOf } from "../connection/leased.ts"
import { type BusyTimeout, mayStartLater, retryWhileLocked } from "../connection/retryWhileLocked.ts"
import { whyUndone } from "../connection/shared.ts"
import { lost } from "../connection/units.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import { codeOf, failure } from "../errors.ts"
import { sqliteMessage } from "../failures.ts"
import type { Pool } from "../file/sides.ts"

export interface Options {
  /** The pool of the connection that writes. */
  readonly writer: Pool
  readonly busyTimeout: BusyTimeout
  /** Whether the work of callers that ask at the same time may be committed together. */
  readonly isGrouped: boolean
  /** Looks at the file before a commit. Ends the leases if the file was moved or replaced. */
  readonly look: (() => void) | undefined
}

/** The work of one caller. */
interface Work extends Member<SqliteConnection> {
  /** Runs the work in a transaction with the work of others. */
  together(connection: SqliteConnection, handle: Handle): unknown
}

/** A statement. If it fails, it leaves the same as if it had run alone. */
class StatementWork implements Work {
  readonly alone: (connection: SqliteConnection) => unknown

  constructor(once: (connection: SqliteConnection) => unknown) {
    this.alone = once
  }

  waits(): void {}

  together(connection: SqliteConnection, { units }: Handle): unknown {
    return units.statement(connection, this.alone)
  }
}

/** A function of the application. It runs as if its own fiber ran it. Its view of the connection expires when it ends. */
class FunctionWork implements Work {
  readonly #fiber: Fiber.Fiber<unknown, unknown>
  readonly #f: (connection: SqliteConnection) => unknown
  readonly alone: (connection: SqliteConnection) => unknown
  /** Set when the caller joins the line, and so before its work runs with that of others. */
  #within: AsyncContext.Within | undefined = undefined

  constructor(
    fiber: Fiber.Fiber<unknown, unknown>,
    f: (connection: SqliteConnection) => unknown,
    alone: (connection: SqliteConnection) => unknown
  ) {
    this.#fiber = fiber
    this.#f = f
    this.alone = alone
  }

  waits(): void {
    this.#within = AsyncContext.capture()
  }

  together(connection: SqliteConnection, { units }: Handle): unknown {
    return units.part(() => {
      const view = viewOf(connection)
      const run = () => asFiber(this.#fiber, () => this.#f(view))
      try {
        return this.#within!(run)
      } finally {
        view.expire()
      }
    })
  }
}

type Failure = SqlError | LeaseExpiredError | PoolError<SqlError>

export class Writes {
  readonly #options: Options
  readonly #group: Group<SqliteConnection, SqlError, Work> | undefined
  /** Failures that came after the function began. Another attempt would run the function for a second time. */
  readonly #isFinal = new WeakSet<object>()

  constructor(options: Options) {
    this.#options = options
    this.#group = options.isGrouped ? Door.of(options.writer)?.group(this.#driver()) : undefined
  }

  /** Runs a statement, which is atomic by itself. */
  statement<A>(
    fiber: Fiber.Fiber<unknown, unknown>,
    once: (connection: SqliteConnection) => A
  ): Effect.Effect<A, Failure> {
    return this.#run(fiber, new StatementWork(once), undefined)
  }

  /** Runs a function. Either everything that it does is stored, or nothing. */
  body<A>(
    fiber: Fiber.Fiber<unknown, unknown>,
    f: (connection: SqliteConnection) => A,
    options: AcquireOptions | undefined
  ): Effect.Effect<A, Failure> {
    return this.#run(fiber, new FunctionWork(fiber, f, (connection) => this.atomically(connection, f)), options)
  }

  #run<A>(
    fiber: Fiber.Fiber<unknown, unknown>,
    work: Work,
    options: AcquireOptions | undefined
  ): Effect.Effect<A, Failure> {
    if (this.#group !== undefined) return this.#group.use<A, Failure>(work, fiber, options)
    const { writer } = this.#options
    const once = { try: work.alone as (connection: SqliteConnection) => A, catch: failure }
    const ran = within(writer.useSync(once, options), fiber)
    if ("_tag" in ran && ran._tag === "Success") return ran
    return Effect.catch(ran, (error) => {
      if (!this.#mayRetry(error)) return Effect.fail(error)
      // All retries run in one lease, so that no later caller is served before this one.
      return writer.use(
        (connection) => this.#retry(Effect.try({ try: () => once.try(connection), catch: failure })),
        options
      )
    })
  }

  /** Runs a function on a connection in a transaction of its own, or in a savepoint if a transaction is open there. */
  atomically<A>(connection: SqliteConnection, f: (connection: SqliteConnection) => A): A {
    const handle = handleOf(connection, "writeSync")
    const { units } = handle
    // A read-only connection can store nothing, so a transaction would be useless.
    if (handle.settings.isReadOnly) return f(connection)
    if (units.isIntact) return units.part(() => f(connection))
    units.begin("alone")
    let value: A
    try {
      value = f(connection)
    } catch (thrown) {
      // The function has begun, and another attempt would run it again.
      if (typeof thrown === "object" && thrown !== null) this.#isFinal.add(thrown)
      undo(handle)
      throw thrown
    }
    try {
      if (!units.isIntact) throw lost("writeSync")
      this.#commit(connection, handle)
      return value
    } catch (thrown) {
      undo(handle)
      throw thrown
    }
  }

  #commit(connection: SqliteConnection, { units }: Handle): void {
    this.#options.look?.()
    // Throws if the look has ended the lease.
    handleOf(connection, "commit")
    units.commit()
  }

  readonly #mayRetry = (error: unknown): boolean => mayStartLater(codeOf(error)) && !this.#isFinal.has(error as object)

  #retry<A, E>(attempt: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return retryWhileLocked(attempt, this.#options.busyTimeout.millis, {
      isWorthwhile: (_, error) => this.#mayRetry(error)
    })
  }

  #driver(): Driver<SqliteConnection, Work> {
    return {
      failure,
      together: (connection, first, others) => this.#together(connection, first, others),
      mayRetry: (answer) => answer._tag === "Failure" && this.#mayRetry(errorOf(answer)),
      retry: (attempt) => this.#retry(attempt)
    }
  }

  #together(connection: SqliteConnection, first: Work, others: Others<Work>): Outcome {
    let handle: Handle
    try {
      handle = handleOf(connection, "write")
      const { units } = handle
      if (units.areKeysDeferred() || (units.hadDeferredKeys && units.hasDeferredKeys())) return deferred
      units.begin("shared")
    } catch {
      // Another process has the lock, or worse. The leader meets that alone too, with the error that it has alone.
      return { _tag: "unshared", isLasting: false }
    }
    let why: string | undefined
    try {
      if (handle.units.hasDeferredKeys()) {
        handle.units.rollback()
        return deferred
      }
      const answers: Array<Exit.Exit<unknown, unknown>> = []
      let mayHaveChanged = false
      let work: Work | undefined = first
      const run = (handle: Handle) => work!.together(connection, handle)
      while (work !== undefined) {
        const answer: Exit.Exit<unknown, unknown> = Body.sync(handle, run, failure)
        answers.push(answer)
        const isFunction: boolean = work instanceof FunctionWork
        mayHaveChanged ||= isFunction
        // A statement that has succeeded has not ended the transaction. To ask SQLite takes time.
        why = isFunction || answer._tag === "Failure" ? whyUndone(handle, codeOf(errorOf(answer))) : undefined
        work = why === undefined ? others.next() : undefined
      }
      why ??= others.areWaiting ? undefined : "a caller has left"
      // A function may have changed the schema, and the work after it ran with the new one.
      if (why === undefined && mayHaveChanged && handle.units.hasDeferredKeys()) why = "foreign keys were deferred"
      if (why === undefined) {
        this.#commit(connection, handle)
        return { _tag: "done", answers }
      }
    } catch (thrown) {
      why = sqliteMessage(thrown)
    }
    try {
      handle.units.rollback()
      return { _tag: "undone", why }
    } catch (thrown) {
      // The transaction may still be open. Work that ran alone now would run inside it.
      return { _tag: "failed", answer: Exit.fail(failure(thrown)) }
    }
  }
}

/** Where foreign keys are deferred, nothing is shared. */
const deferred: Outcome = { _tag: "unshared", isLasting: true }

const errorOf = (exit: Exit.Exit<unknown, unknown>): unknown => {
  if (Exit.isSuccess(exit)) return undefined
  const reason = exit.cause.reasons[0]
  return reason?._tag === "Fail" ? reason.error : undefined
}

/** Undoes a unit after a failure. If this fails too, the caller still gets the first failure, which says more. */
const undo = ({ units }: Handle): void => {
  try {
    units.rollback()
  } catch {
    // The connection is still in a transaction, so the pool resets it or evicts it.
  }
}
