/**
 * Interrupts a scenario at every point, to find races.
 *
 * It runs the scenario again and again. Each time, fibers yield after another number of operations, and the interrupt comes
 * after another number of turns. So an interrupt between two particular steps becomes a case that is always hit.
 */
import { Cause, Context, Effect, Exit, Fiber, Predicate, Scheduler, type Scope } from "effect"
import { checkOrThrow } from "../internal/options/problems.ts"
import { table as makeTable } from "../internal/options/rules.ts"

/** One case of a sweep. */
export interface Cut {
  /** The number of operations after which each fiber yields. */
  readonly budget: number
  /** The number of turns of the scheduler after which the scenario is interrupted. */
  readonly turns: number
}

/** The annotation of a failed sweep's cause with the case that failed: see `run`. */
export class FailedCut extends Context.Service<FailedCut, Cut>()("effect-connection-pool/testing/Sweep/FailedCut") {}

export interface Options<World, A, E, R, E2, R2> {
  /** Makes a new world for each case. It is not interrupted. */
  readonly setup: Effect.Effect<World, E2, R2>
  /** The effect that is interrupted. */
  readonly scenario: (world: World) => Effect.Effect<A, E, R>
  /** Asserts after each case that all is well. It gets the exit of the scenario. */
  readonly check: (world: World, exit: Exit.Exit<A, E>, cut: Cut) => Effect.Effect<unknown, E2, R2>
  /** The budgets. Default: 3 to 64. With less than 3, no fiber makes progress. */
  readonly budgets?: readonly [from: number, to: number] | undefined
  /** The turns. Default: 0 to 12. */
  readonly turns?: readonly [from: number, to: number] | undefined
}

/** The numbers of a sweep. A sweep that never interrupts, or always at once, proves nothing. */
export interface Report {
  readonly cases: number
  /** The cases in which the interrupt came before the scenario had ended. */
  readonly interrupted: number
}

/**
 * Runs all cases, one after the other, each in a scope of its own.
 *
 * It fails or dies as soon as one `setup` or `check` does. The case is in an annotation of the cause, and is logged as an
 * error. Invalid options are a defect, a `TypeError`: a sweep over no cases proves nothing.
 *
 * ```ts
 * import { Cause, Context } from "effect"
 * import { Sweep } from "effect-connection-pool/testing"
 *
 * // The case that has failed, to be run again alone: `budgets: [budget, budget]`, `turns: [turns, turns]`.
 * export const failedCut = (cause: Cause.Cause<unknown>): Sweep.Cut | undefined =>
 *   Context.getOrUndefined(Cause.annotations(cause), Sweep.FailedCut)
 * ```
 */
export const run = <World, A, E, R, E2 = never, R2 = never>(
  options: Options<World, A, E, R, E2, R2>
): Effect.Effect<Report, E2, Exclude<R | R2, Scope.Scope>> =>
  Effect.gen(function*() {
    const { budgets, turns } = checkOrThrow("Sweep.run", table, options)
    const [leastBudget, mostBudget] = budgets as Options<World, A, E, R, E2, R2>["budgets"] ?? [3, 64]
    const [leastTurns, mostTurns] = turns as Options<World, A, E, R, E2, R2>["turns"] ?? [0, 12]
    let cases = 0
    let interrupted = 0
    for (let budget = leastBudget; budget <= mostBudget; budget++) {
      for (let turns = leastTurns; turns <= mostTurns; turns++) {
        const cut: Cut = { budget, turns }
        const exit = yield* runCase(options, cut)
        cases++
        if (Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)) interrupted++
      }
    }
    return { cases, interrupted }
  })

const isRange = (least: number) => (range: unknown): boolean => {
  const [from, to] = range as ReadonlyArray<number>
  return Number.isInteger(from) && Number.isInteger(to) && from! >= least && to! >= from!
}

const table = makeTable({
  setup: { kind: "value", required: true, accepts: Effect.isEffect, mustBe: "an effect" },
  scenario: { kind: "value", required: true, accepts: Predicate.isFunction, mustBe: "a function" },
  check: { kind: "value", required: true, accepts: Predicate.isFunction, mustBe: "a function" },
  budgets: { kind: "value", accepts: isRange(1), mustBe: "[from, to], whole numbers of at least 1" },
  turns: { kind: "value", accepts: isRange(0), mustBe: "[from, to], whole numbers of at least 0" }
})

const runCase = <World, A, E, R, E2, R2>(
  options: Options<World, A, E, R, E2, R2>,
  cut: Cut
): Effect.Effect<Exit.Exit<A, E>, E2, Exclude<R | R2, Scope.Scope>> =>
  Effect.gen(function*() {
    const world = yield* options.setup
    const fiber = yield* Effect.forkDetach(Effect.scoped(options.scenario(world)))
    for (let turn = 0; turn < cut.turns; turn++) yield* Effect.yieldNow
    yield* Fiber.interrupt(fiber)
    const exit = yield* Fiber.await(fiber)
    yield* options.check(world, exit, cut)
    return exit
  }).pipe(
    Effect.scoped,
    Effect.provideService(Scheduler.MaxOpsBeforeYield, cut.budget),
    Effect.tapCause(() => Effect.logError(`sweep: budget ${cut.budget}, ${cut.turns} turns`)),
    Effect.catchCause((cause) => Effect.failCause(Cause.annotate(cause, Context.make(FailedCut, cut))))
  ) as Effect.Effect<Exit.Exit<A, E>, E2, Exclude<R | R2, Scope.Scope>>
