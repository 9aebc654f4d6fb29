/**
 * Work that changes the database in one step: single statements of `sql`, and functions given to `writeSync`.
 *
 * Where there is a group, those who ask at the same time are committed together, each as if it had been alone: see
 * `Group`. One that fails undoes itself. Whatever concerns all of them (a commit that fails, a transaction that SQLite
 * ends) undoes them all, and they run again one by one, for nobody has been answered by then.
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
import { lost } from "../connection/units.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import { codeOf, failure, primaryOf } from "../errors.ts"
import type { Pool } from "../file/sides.ts"

export interface Options {
  /** The pool of the connection that writes. */
  readonly writer: Pool
  readonly busyTimeout: BusyTimeout
  /** Whether those who ask at the same time may be committed together. */
  readonly isGrouped: boolean
  /** Looks at the file before a commit. Ends the leases if it is not at its place any more. */
  readonly look: (() => void) | undefined
}

/** What one caller wants to have done. */
interface Work extends Member<SqliteConnection> {
  /** Runs it in a transaction with the work of others. */
  together(connection: SqliteConnection, handle: Handle): unknown
}

/** A statement: if it fails, it leaves what it would leave alone. */
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

/** A function of the application, which runs as if its own fiber ran it, and with a connection of its own. */
class FunctionWork implements Work {
  readonly #fiber: Fiber.Fiber<unknown, unknown>
  readonly #f: (connection: SqliteConnection) => unknown
  readonly alone: (connection: SqliteConnection) => unknown
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
        return this.#within === undefined ? run() : this.#within(run)
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
  /** Failures after which another attempt would run a function for a second time. */
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

  /** Runs a function: all that it does is stored, or nothing. */
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
      // In one lease from now on, so that no later caller is served before this one.
      return writer.use(
        (connection) => this.#retry(Effect.try({ try: () => once.try(connection), catch: failure })),
        options
      )
    })
  }

  /** Runs a function on a connection in a transaction of its own; or in a savepoint, if one is open there. */
  atomically<A>(connection: SqliteConnection, f: (connection: SqliteConnection) => A): A {
    const handle = handleOf(connection, "writeSync")
    const { units } = handle
    // Nothing can be stored there.
    if (handle.settings.isReadOnly) return f(connection)
    if (units.isIntact) return units.part(() => f(connection))
    units.begin("alone")
    let value: A
    try {
      value = f(connection)
    } catch (thrown) {
      // It was begun: another attempt would run the function again.
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
      if (units.areKeysDeferred() || (units.hadDeferredKeys && units.hasDeferredKeys())) return { _tag: "unshared" }
      units.begin("shared")
    } catch (thrown) {
      return { _tag: "refused", answer: Exit.fail(failure(thrown)) }
    }
    let why: string | undefined
    try {
      if (handle.units.hasDeferredKeys()) {
        handle.units.rollback()
        return { _tag: "unshared" }
      }
      const answers: Array<Exit.Exit<unknown, unknown>> = []
      let work: Work | undefined = first
      while (work !== undefined) {
        const answer: Exit.Exit<unknown, unknown> = Body.sync(handle, runs(work, connection), failure)
        answers.push(answer)
        why = whyUndone(handle, answer)
        work = why === undefined ? others.next() : undefined
      }
      why ??= others.areWaiting ? undefined : "a caller has left"
      // What a function has made of the schema, those who ran after it have met.
      if (why === undefined && handle.units.hasDeferredKeys()) why = "foreign keys were deferred"
      if (why === undefined) {
        this.#commit(connection, handle)
        return { _tag: "done", answers }
      }
    } catch (thrown) {
      why = thrown instanceof Error ? thrown.message : String(thrown)
    }
    try {
      handle.units.rollback()
      return { _tag: "undone", why }
    } catch (thrown) {
      // The connection is of no use to anybody: nothing may run on it as if it were alone there.
      return { _tag: "refused", answer: Exit.fail(failure(thrown)) }
    }
  }
}

const runs = (work: Work, connection: SqliteConnection) => (handle: Handle): unknown =>
  work.together(connection, handle)

/** Why the work of all has to be undone after one of them got this answer, if so. */
const whyUndone = (handle: Handle, answer: Exit.Exit<unknown, unknown>): string | undefined => {
  const { isIntact, isPartLeft, whyAlone } = handle.units
  if (!isIntact) return "SQLite has ended the transaction"
  if (whyAlone !== undefined) return whyAlone
  if (isPartLeft) return "a part of a statement that has failed is left"
  if (!handle.isUsable) return "the connection is in doubt"
  const code = codeOf(errorOf(answer))
  return code === undefined || ofOneStatement.has(primaryOf(code)) ? undefined : `SQLite has failed with code ${code}`
}

/** Failures that only concern the statement that meets them: ERROR, TOOBIG, CONSTRAINT, MISMATCH, AUTH and RANGE. */
const ofOneStatement: ReadonlySet<number> = new Set([1, 18, 19, 20, 23, 25])

const errorOf = (exit: Exit.Exit<unknown, unknown>): unknown => {
  if (Exit.isSuccess(exit)) return undefined
  const reason = exit.cause.reasons[0]
  return reason?._tag === "Fail" ? reason.error : undefined
}

/** Undoes a unit after a failure. What goes wrong now says less than that: the pool resets the connection or evicts it. */
const undo = ({ units }: Handle): void => {
  try {
    units.rollback()
  } catch {
    // It still is in a transaction, and so will be reset.
  }
}
