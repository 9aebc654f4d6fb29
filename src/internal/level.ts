/**
 * One transaction on one connection, and the levels in it: the transaction itself at depth 0, and a savepoint at each
 * depth below. At most one level is open at each depth, for siblings take turns; so they form a stack.
 *
 * A fiber is at the level whose body it was started in. What it runs there is refused once that level has ended, and waits
 * as long as another fiber has a savepoint open above it, whose rollback would undo it.
 */
import { Cause, Effect, Exit, Fiber } from "effect"
import { isSqlError } from "effect/sql/SqlError"
import type { Mode, Session } from "../Transaction.ts"
import { TransactionEndedError, TransactionLostError } from "../TransactionError.ts"
import { withFiber } from "./step.ts"
import { Turn } from "./turn.ts"

/** A transaction that is open, or was. */
export class Running<C> {
  readonly pool: string
  readonly connection: C
  readonly mode: Mode
  readonly #isTransaction: (connection: C) => boolean
  /** Those that are open, outermost first. */
  readonly levels: Array<Level<C>> = []
  /** How it was lost, once the database has ended it by itself. */
  lost: TransactionLostError | undefined = undefined

  constructor(pool: string, connection: C, mode: Mode, isTransaction: (connection: C) => boolean) {
    this.pool = pool
    this.connection = connection
    this.mode = mode
    this.#isTransaction = isTransaction
  }

  /** Begins a level above the one that is open. */
  open(fiber: Fiber.Fiber<unknown, unknown>): Level<C> {
    const level = new Level(this, this.levels.length, fiber)
    this.levels.push(level)
    return level
  }

  /** Looks whether the transaction is still there, after a statement that may have been what ended it. */
  notice(statement?: string, error?: unknown): void {
    if (this.lost !== undefined || this.#isTransaction(this.connection)) return
    this.lose(statement, error)
  }

  lose(statement?: string, error?: unknown): void {
    this.lost ??= new TransactionLostError({
      pool: this.pool,
      ...(statement === undefined ? undefined : { statement }),
      ...(isSqlError(error) ? { cause: error } : undefined)
    })
  }
}

export class Level<C> {
  readonly running: Running<C>
  readonly depth: number
  /** Who has begun it, and runs its body. */
  readonly fiber: Fiber.Fiber<unknown, unknown>
  isOpen = true
  /** Held by the level above for as long as that is open. */
  readonly turn = new Turn()

  constructor(running: Running<C>, depth: number, fiber: Fiber.Fiber<unknown, unknown>) {
    this.running = running
    this.depth = depth
    this.fiber = fiber
  }

  /** The level above it, if one is open. */
  get above(): Level<C> | undefined {
    return this.running.levels[this.depth + 1]
  }

  /** Ends it, and with it all above; those who are in them find out. */
  end(): void {
    if (!this.isOpen) return
    for (const level of this.running.levels.splice(this.depth)) {
      level.isOpen = false
      level.turn.end()
    }
  }

  /** Why nothing may be run here any more, if so. */
  refusal(operation: string): TransactionEndedError | TransactionLostError | undefined {
    if (!this.isOpen) return new TransactionEndedError({ pool: this.running.pool, operation })
    this.running.notice()
    return this.running.lost
  }

  /** Whether the fiber has itself begun a level above, and would wait for itself. */
  isBelow(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return this.running.levels.some((level) => level.depth > this.depth && level.fiber === fiber)
  }

  /** Whether the fiber may go on at this level now. */
  isTurnOf(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return this.turn.isFree || this.isBelow(fiber)
  }
}

/** What a fiber may do at a level. `levelOf` finds that of the fiber that runs a statement. */
export const sessionOf = <C>(
  mode: Mode,
  levelOf: (fiber: Fiber.Fiber<unknown, unknown> | undefined) => Level<C>
): Session<C> => ({
  mode,
  step: (statement, f, failure) =>
    withFiber((fiber) => {
      const level = levelOf(fiber)
      return level.isTurnOf(fiber)
        ? step(level, statement, fiber, f, failure)
        : level.turn.take(Effect.suspend(() => step(level, statement, fiber, f, failure)))
    }),
  stepUnsafe: (statement, f, busy) => {
    const fiber = Fiber.getCurrent()
    const level = levelOf(fiber)
    if (!level.turn.isFree && (fiber === undefined || !level.isBelow(fiber))) throw busy()
    return stepUnsafe(level, statement, f)
  },
  steps: (statement, f) =>
    Effect.withFiber((fiber) => {
      const level = levelOf(fiber)
      const now = steps(level, statement, f)
      return level.isBelow(fiber) ? now : level.turn.take(now)
    }),
  check: (statement) =>
    Effect.withFiber((fiber) => {
      const refusal = levelOf(fiber).refusal(statement)
      return refusal === undefined ? Effect.void : Effect.fail(refusal)
    })
})

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
    const isOurs = thrown instanceof TransactionEndedError || thrown instanceof TransactionLostError
    return Exit.fail(isOurs ? thrown : failure(thrown))
  }
}

const stepUnsafe = <C, A>(level: Level<C>, statement: string, f: (connection: C) => A): A => {
  const refusal = level.refusal(statement)
  if (refusal !== undefined) throw refusal
  const { running } = level
  try {
    const value = f(running.connection)
    running.notice(statement)
    return value
  } catch (thrown) {
    running.notice(statement, thrown)
    throw thrown
  }
}

const steps = <C, A, E, R>(
  level: Level<C>,
  statement: string,
  f: (connection: C) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | TransactionEndedError | TransactionLostError, R> =>
  Effect.suspend(() => {
    const refusal = level.refusal(statement)
    if (refusal !== undefined) return Effect.fail(refusal)
    const { running } = level
    return Effect.onExitPrimitive(f(running.connection), (exit) => {
      running.notice(statement, Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined)
      return undefined
    })
  })
