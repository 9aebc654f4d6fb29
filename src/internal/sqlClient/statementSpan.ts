/**
 * The spans of statements. A span is made and ended in the step that runs its statement. It is equal to the span of
 * Effect's own statement: `test/sqlite/statementSpans.test.ts` compares them field by field.
 */
import { Clock, type Effect, Exit, type Fiber, References, type Tracer } from "effect"
import * as Statement from "effect/sql/Statement"
import { isInterruptedInStep, isSuccess, onExitWithin, spanMaker } from "../runtime.ts"

/** Makes the spans of all statements of a client. */
export class StatementSpans {
  readonly #attributes: ReadonlyArray<readonly [string, unknown]>
  /** Returns `undefined` if Effect's own statement has to make the span. */
  readonly make: (fiber: Fiber.Fiber<unknown, unknown>) => Tracer.Span | undefined

  constructor(attributes: ReadonlyArray<readonly [string, unknown]>) {
    this.#attributes = attributes
    this.make = spanMaker(Statement.spanName(attributes), { kind: "client" })
  }

  /** Sets the attributes of a span. `method` is Effect's name for the property that runs the statement. */
  describe(span: Tracer.Span, method: string, sql: string): void {
    for (const [key, value] of this.#attributes) span.attribute(key, value)
    span.attribute("effect.sql.method", method)
    span.attribute("db.query.text", sql)
  }
}

/**
 * Runs `start` in the present step of the fiber, and ends the span with the result. If `start` succeeds at once, the span
 * ends in the same step. Otherwise it ends with the effect that is left, however that ends. The step must return the
 * result of this function unchanged.
 */
export const endingWith = <A, E>(
  span: Tracer.Span,
  fiber: Fiber.Fiber<unknown, unknown>,
  start: () => Effect.Effect<A, E>
): Effect.Effect<A, E> => {
  const clock = fiber.getRef(Clock.Clock)
  const isTimed = fiber.getRef(References.TracerTimingEnabled)
  let ran: Effect.Effect<A, E>
  try {
    ran = start()
  } catch (thrown) {
    ran = Exit.die(thrown)
  }
  // The run loop adds stack frames to a failure, and a cause to an interrupt, in later steps.
  if (!isSuccess(ran) || isInterruptedInStep(fiber)) {
    return onExitWithin(ran, fiber, (exit) => end(span, exit, clock, isTimed))
  }
  try {
    end(span, ran, clock, isTimed)
  } catch (thrown) {
    return Exit.die(thrown)
  }
  return ran
}

const end = (
  span: Tracer.Span,
  exit: Exit.Exit<unknown, unknown>,
  clock: Clock.Clock,
  isTimed: boolean
): undefined => {
  if (span.status._tag !== "Ended") span.end(isTimed ? clock.currentTimeNanosUnsafe() : 0n, exit)
}
