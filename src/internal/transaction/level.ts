/**
 * The levels of a transaction on one connection: the transaction itself at depth 0, and a savepoint at each depth above.
 *
 * Siblings take turns, so at most one level is open at each depth, and the open levels form a stack. A fiber is at the level
 * whose body it was started in. Its statements are refused once that level has ended. They wait while another fiber has a
 * savepoint open above the level, for the rollback of that savepoint would undo them.
 */
import { Cause, Effect, Exit, Fiber, identity } from "effect"
import { isSqlError } from "effect/sql/SqlError"
import type { Mode, StatementError, TransactionConnection } from "../../Transaction.ts"
import { TransactionEndedError, TransactionLostError, TransactionTurnTimeoutError } from "../../TransactionError.ts"
import { onExitWithin, OwnStep, withFiber, within } from "../runtime.ts"
import { type Late, type Request, Turn, TurnDeadlines } from "./turn.ts"

/** The settings that all transactions of a database share. */
export interface DatabaseSettings<C> {
  readonly pool: string
  readonly isTransaction: (connection: C) => boolean
  /** Why a transaction has ended by itself, if the driver knows the reason. */
  readonly reasonOfLoss: ((connection: C) => string | undefined) | undefined
  /** How long a fiber waits for its turn in a transaction. */
  readonly turnTimeoutMillis: number
}

/** The pool that has lent the connection of a transaction. */
export interface Lender<in C> {
  readonly invalidate: (connection: C) => Effect.Effect<unknown>
}

/** A transaction that is open, or was open. */
export class OpenTransaction<C> {
  readonly database: DatabaseSettings<C>
  readonly lender: Lender<C>
  readonly connection: C
  readonly mode: Mode
  /** Its options that only the dialect knows. */
  readonly own: object
  /** The levels that are open, the outermost first. */
  readonly levels: Array<Level<C>> = []
  /** The error of all later statements, once the transaction has ended by itself. */
  lost: TransactionLostError | undefined = undefined
  /** Whether its connection no longer answers, so that no statement may be sent on it. */
  isAbandoned = false
  readonly turnDeadlines = new TurnDeadlines()

  constructor(database: DatabaseSettings<C>, lender: Lender<C>, connection: C, mode: Mode, own: object) {
    this.database = database
    this.lender = lender
    this.connection = connection
    this.mode = mode
    this.own = own
  }

  get pool(): string {
    return this.database.pool
  }

  /** Opens a level above the open levels. */
  openLevel(fiber: Fiber.Fiber<unknown, unknown>): Level<C> {
    const level = new Level(this, this.levels.length, fiber)
    this.levels.push(level)
    return level
  }

  /** Notices that the database has ended the transaction, after a statement that may have been the reason. */
  notice(statement?: string, error?: unknown): void {
    if (this.lost !== undefined || this.database.isTransaction(this.connection)) return
    this.lose(statement, error, this.database.reasonOfLoss?.(this.connection))
  }

  lose(statement: string | undefined, error: unknown, reason: string | undefined): void {
    this.lost ??= new TransactionLostError({
      pool: this.pool,
      ...(statement === undefined ? undefined : { statement }),
      ...(isSqlError(error) ? { cause: error } : undefined),
      ...(reason === undefined ? undefined : { reason })
    })
  }
}

export class Level<C> {
  readonly transaction: OpenTransaction<C>
  readonly depth: number
  /** The fiber that opened the level and runs its body. */
  readonly fiber: Fiber.Fiber<unknown, unknown>
  isOpen = true
  /** The level around this one. */
  readonly outer: Level<C> | undefined
  /** Whether work may still be added that waits for the commit. */
  isTaking = true
  /** The work that waits for the commit. */
  callbacks: Array<Effect.Effect<void>> | undefined = undefined
  /** The turn that the level above holds while it is open. */
  readonly turn: Turn

  constructor(transaction: OpenTransaction<C>, depth: number, fiber: Fiber.Fiber<unknown, unknown>) {
    this.transaction = transaction
    this.depth = depth
    this.outer = transaction.levels[depth - 1]
    this.fiber = fiber
    this.turn = new Turn(transaction.turnDeadlines, fiber)
  }

  /** Runs an effect while no other fiber has the turn. */
  take<A, E, R, E2>(
    effect: Effect.Effect<A, E, R>,
    request: Request,
    present: (error: TransactionTurnTimeoutError) => E2
  ): Effect.Effect<A, E | E2, R> {
    return this.turn.take(effect, request, (late) => present(this.#late(late)))
  }

  /** `take`, in the present step of a fiber. The step must return the result of this function unchanged. */
  takeWithin<A, E, R, E2>(
    fiber: Fiber.Fiber<unknown, unknown>,
    effect: Effect.Effect<A, E, R>,
    request: Request,
    present: (error: TransactionTurnTimeoutError) => E2
  ): Effect.Effect<A, E | E2, R> {
    return this.turn.takeWithin(fiber, effect, request, (late) => present(this.#late(late)))
  }

  #late(late: Late): TransactionTurnTimeoutError {
    return new TransactionTurnTimeoutError({ pool: this.transaction.pool, ...late })
  }

  /** The request of a statement for its turn. */
  request(operation: string): Request {
    return { operation, label: undefined, timeoutMillis: this.transaction.database.turnTimeoutMillis }
  }

  /** The level above this one, if it is open. */
  get above(): Level<C> | undefined {
    return this.transaction.levels[this.depth + 1]
  }

  /** Ends this level and all levels above it. The fibers that are in them get an error with their next statement. */
  end(): void {
    if (!this.isOpen) return
    const { levels } = this.transaction
    for (let level = levels.pop(); level !== undefined; level = levels.pop()) {
      level.isOpen = false
      level.turn.end()
      if (level === this) return
    }
  }

  /** Why a statement is refused at this level, if it is refused. */
  refusal(operation: string): TransactionEndedError | TransactionLostError | undefined {
    if (!this.isOpen) return new TransactionEndedError({ pool: this.transaction.pool, operation })
    this.transaction.notice()
    return this.transaction.lost
  }

  /** Whether the fiber has itself opened a level above this one, so that it would wait for itself. */
  isBelow(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return this.transaction.levels.some((level) => level.depth > this.depth && level.fiber === fiber)
  }

  /** Whether the fiber may run a statement at this level without waiting. */
  isTurnOf(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return this.turn.isFree || this.isBelow(fiber)
  }
}

/** The same connection, for this library. */
interface Quick<out C> extends TransactionConnection<C> {
  /** `step` in the present step of a fiber. Returns what is left to do. */
  readonly stepWithin: <A, E>(
    fiber: Fiber.Fiber<unknown, unknown>,
    statement: string,
    f: (connection: C, fiber: Fiber.Fiber<unknown, unknown>) => A,
    failure: (thrown: unknown) => E
  ) => Effect.Effect<A, E | StatementError>
}

/** `TransactionConnection.step`, in the present step of a fiber. Returns what is left to do. */
export const stepWithin = <C, A, E>(
  connection: TransactionConnection<C>,
  fiber: Fiber.Fiber<unknown, unknown>,
  statement: string,
  f: (connection: C, fiber: Fiber.Fiber<unknown, unknown>) => A,
  failure: (thrown: unknown) => E
): Effect.Effect<A, E | StatementError> =>
  "stepWithin" in connection
    ? (connection as Quick<C>).stepWithin(fiber, statement, f, failure)
    : within(connection.step(statement, f, failure), fiber)

/** The connection of a transaction at a level. `levelOf` finds the level of the fiber that runs a statement. */
export const connectionOf = <C>(
  { connection, mode }: OpenTransaction<C>,
  levelOf: (fiber: Fiber.Fiber<unknown, unknown> | undefined) => Level<C>
): Quick<C> => ({
  mode,
  connection,
  step: (statement, f, failure) => withFiber((fiber) => stepAt(levelOf(fiber), fiber, statement, f, failure)),
  stepWithin: (fiber, statement, f, failure) => stepAt(levelOf(fiber), fiber, statement, f, failure),
  stepUnsafe: (statement, f, busy) => {
    const fiber = Fiber.getCurrent()
    const level = levelOf(fiber)
    if (!level.turn.isFree && (fiber === undefined || !level.isBelow(fiber))) throw busy()
    return stepUnsafe(level, statement, f)
  },
  steps: (statement, f) => new Steps(levelOf, statement, f),
  assertOpen: (statement) =>
    Effect.withFiber((fiber) => {
      const refusal = levelOf(fiber).refusal(statement)
      return refusal === undefined ? Effect.void : Effect.fail(refusal)
    })
})

const stepAt = <C, A, E>(
  level: Level<C>,
  fiber: Fiber.Fiber<unknown, unknown>,
  statement: string,
  f: (connection: C, fiber: Fiber.Fiber<unknown, unknown>) => A,
  failure: (thrown: unknown) => E
): Effect.Effect<A, E | StatementError> =>
  level.isTurnOf(fiber)
    ? step(level, statement, fiber, f, failure)
    : level.take(
      Effect.suspend(() => step(level, statement, fiber, f, failure)),
      level.request(statement),
      identity
    )

const step = <C, A, E>(
  level: Level<C>,
  statement: string,
  fiber: Fiber.Fiber<unknown, unknown>,
  f: (connection: C, fiber: Fiber.Fiber<unknown, unknown>) => A,
  failure: (thrown: unknown) => E
): Exit.Exit<A, E | TransactionEndedError | TransactionLostError> => {
  try {
    return Exit.succeed(stepUnsafe(level, statement, (connection) => f(connection, fiber)))
  } catch (thrown) {
    const isRefusal = thrown instanceof TransactionEndedError || thrown instanceof TransactionLostError
    return Exit.fail(isRefusal ? thrown : failure(thrown))
  }
}

const stepUnsafe = <C, A>(level: Level<C>, statement: string, f: (connection: C) => A): A => {
  const refusal = level.refusal(statement)
  if (refusal !== undefined) throw refusal
  const { transaction } = level
  try {
    const value = f(transaction.connection)
    transaction.notice(statement)
    return value
  } catch (thrown) {
    transaction.notice(statement, thrown)
    throw thrown
  }
}

/** A statement that takes several steps. If the fiber has its turn at once, the statement begins in the present step. */
class Steps<C, A, E, R> extends OwnStep<A, E | StatementError, R> {
  readonly #levelOf: (fiber: Fiber.Fiber<unknown, unknown>) => Level<C>
  readonly #statement: string
  readonly #f: (connection: C) => Effect.Effect<A, E, R>

  constructor(
    levelOf: (fiber: Fiber.Fiber<unknown, unknown>) => Level<C>,
    statement: string,
    f: (connection: C) => Effect.Effect<A, E, R>
  ) {
    super()
    this.#levelOf = levelOf
    this.#statement = statement
    this.#f = f
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E | StatementError, R> {
    const level = this.#levelOf(fiber)
    const statement = this.#statement
    if (level.isBelow(fiber)) return stepsNow(level, fiber, statement, this.#f, undefined)
    const request = level.request(statement)
    const leave = level.turn.takeNow(fiber, request)
    if (leave !== undefined) return stepsNow(level, fiber, statement, this.#f, leave)
    return level.takeWithin(fiber, new InTurn(level, statement, this.#f), request, identity)
  }
}

/** A statement whose turn it is after a wait. */
class InTurn<C, A, E, R> extends OwnStep<A, E | StatementError, R> {
  readonly #level: Level<C>
  readonly #statement: string
  readonly #f: (connection: C) => Effect.Effect<A, E, R>

  constructor(level: Level<C>, statement: string, f: (connection: C) => Effect.Effect<A, E, R>) {
    super()
    this.#level = level
    this.#statement = statement
    this.#f = f
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E | StatementError, R> {
    return stepsNow(this.#level, fiber, this.#statement, this.#f, undefined)
  }
}

/** Begins a statement in the present step of a fiber, which must return the result unchanged. `leave` gives its turn back. */
const stepsNow = <C, A, E, R>(
  level: Level<C>,
  fiber: Fiber.Fiber<unknown, unknown>,
  statement: string,
  f: (connection: C) => Effect.Effect<A, E, R>,
  leave: (() => void) | undefined
): Effect.Effect<A, E | StatementError, R> => {
  const refusal = level.refusal(statement)
  if (refusal !== undefined) {
    leave?.()
    return Effect.fail(refusal)
  }
  const { transaction } = level
  return onExitWithin(called(f, transaction.connection), fiber, (exit) => {
    transaction.notice(statement, Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined)
    leave?.()
    return undefined
  })
}

/** What the function throws is a defect, so that the turn is given back. */
const called = <C, A, E, R>(f: (connection: C) => Effect.Effect<A, E, R>, connection: C): Effect.Effect<A, E, R> => {
  try {
    return f(connection)
  } catch (thrown) {
    return Exit.die(thrown)
  }
}
