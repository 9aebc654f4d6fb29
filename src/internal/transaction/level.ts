/**
 * One transaction on one connection, and the levels in it: the transaction itself at depth 0, and a savepoint at each
 * depth below. At most one level is open at each depth, for siblings take turns; so they form a stack.
 *
 * A fiber is at the level whose body it was started in. What it runs there is refused once that level has ended, and waits
 * as long as another fiber has a savepoint open above it, whose rollback would undo it.
 */
import { Cause, Effect, Exit, Fiber, identity } from "effect"
import { isSqlError } from "effect/sql/SqlError"
import type { Mode, TransactionConnection } from "../../Transaction.ts"
import { TransactionEndedError, TransactionLostError, TransactionTurnTimeoutError } from "../../TransactionError.ts"
import { withFiber } from "../step.ts"
import { type Request, Turn, Waits } from "./turn.ts"

/** What is the same for all transactions of a database. */
export interface Setting<C> {
  readonly pool: string
  readonly isTransaction: (connection: C) => boolean
  /** Why a transaction has ended by itself, if the driver knows. */
  readonly reasonOfLoss: ((connection: C) => string | undefined) | undefined
  /** How long a fiber waits for its turn in a transaction. */
  readonly turnTimeoutMillis: number
}

/** A transaction that is open, or was. */
export class Running<C> {
  readonly setting: Setting<C>
  readonly connection: C
  readonly mode: Mode
  /** The options that only its dialect knows. */
  readonly own: object
  /** Those that are open, outermost first. */
  readonly levels: Array<Level<C>> = []
  /** How it was lost, once it has ended by itself. */
  lost: TransactionLostError | undefined = undefined
  /** Whether nothing may be said on its connection any more, which does not answer. */
  isAbandoned = false
  readonly waits = new Waits()

  constructor(setting: Setting<C>, connection: C, mode: Mode, own: object) {
    this.setting = setting
    this.connection = connection
    this.mode = mode
    this.own = own
  }

  get pool(): string {
    return this.setting.pool
  }

  /** Begins a level above the one that is open. */
  open(fiber: Fiber.Fiber<unknown, unknown>): Level<C> {
    const level = new Level(this, this.levels.length, fiber)
    this.levels.push(level)
    return level
  }

  /** Looks whether the transaction is still there, after a statement that may have been what ended it. */
  notice(statement?: string, error?: unknown): void {
    if (this.lost !== undefined || this.setting.isTransaction(this.connection)) return
    this.lose(statement, error, this.setting.reasonOfLoss?.(this.connection))
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
  readonly running: Running<C>
  readonly depth: number
  /** Who has begun it, and runs its body. */
  readonly fiber: Fiber.Fiber<unknown, unknown>
  isOpen = true
  /** Held by the level above for as long as that is open. */
  readonly turn: Turn

  constructor(running: Running<C>, depth: number, fiber: Fiber.Fiber<unknown, unknown>) {
    this.running = running
    this.depth = depth
    this.fiber = fiber
    this.turn = new Turn(running.waits)
  }

  /** Runs an effect while nobody else has the turn. */
  take<A, E, R, E2>(
    effect: Effect.Effect<A, E, R>,
    request: Request,
    present: (error: TransactionTurnTimeoutError) => E2
  ): Effect.Effect<A, E | E2, R> {
    const { pool } = this.running
    return this.turn.take(effect, request, (late) => present(new TransactionTurnTimeoutError({ pool, ...late })))
  }

  /** What a statement wants its turn for. */
  request(operation: string): Request {
    return { operation, label: undefined, timeoutMillis: this.running.setting.turnTimeoutMillis }
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

/** The connection of a transaction at a level. `levelOf` finds the level of the fiber that runs a statement. */
export const connectionOf = <C>(
  mode: Mode,
  levelOf: (fiber: Fiber.Fiber<unknown, unknown> | undefined) => Level<C>
): TransactionConnection<C> => ({
  mode,
  step: (statement, f, failure) =>
    withFiber((fiber) => {
      const level = levelOf(fiber)
      return level.isTurnOf(fiber)
        ? step(level, statement, fiber, f, failure)
        : level.take(
          Effect.suspend(() => step(level, statement, fiber, f, failure)),
          level.request(statement),
          identity
        )
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
      return level.isBelow(fiber) ? now : level.take(now, level.request(statement), identity)
    }),
  assertOpen: (statement) =>
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
