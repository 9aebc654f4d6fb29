/**
 * One run of a statement on a session: its turn, its record for the pool, and its deadline.
 *
 * They begin in one step of the fiber, and end with one finalizer. With one for each, a statement would take several times as
 * many steps as its driver.
 */
import { Effect, type Exit, type Fiber } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Recorder } from "../../../internal/pool/recorder.ts"
import type { Run } from "../../../internal/pool/statements.ts"
import { OwnStep } from "../../../internal/runtime.ts"
import type { Text } from "../sql/statementText.ts"
import type { ControlDeadlines, Late } from "./controlDeadlines.ts"
import type { Turns, Work } from "./turns.ts"

/** A check that runs when it is the turn of a statement. It returns the error with which the statement is refused. */
export type Check<E> = () => E | undefined

/** The session of a run. */
export interface Owner {
  readonly turns: Turns
  readonly deadlines: ControlDeadlines
  /** Not set: the run is recorded elsewhere. */
  readonly recorder: Recorder | undefined
  /** The error for a statement that cannot be run. */
  readonly problemOf: (operation: string, text: Text, params: ReadonlyArray<unknown>) => SqlError | undefined
  /** The error for a statement that is not sent, because the session is lost. */
  readonly lost: (operation: string) => SqlError | undefined
  readonly begun: (text: Text) => void
  readonly ended: (text: Text, exit: Exit.Exit<unknown, SqlError>) => void
  /** A statement was not answered in time. */
  readonly late: (operation: string, millis: number) => void
}

export interface Statement<A, E> {
  readonly operation: string
  readonly text: Text
  readonly params: ReadonlyArray<unknown>
  /** Sends it. */
  readonly query: () => Effect.Effect<A, SqlError>
  readonly check: Check<E>
  /** Its deadline, with the wait for its turn. `Infinity`: none. */
  readonly millis: number
  /** What was not answered, for the error at the deadline. */
  readonly late: string
}

/** Runs a statement, each time it is evaluated. */
export class StatementRun<A, E> extends OwnStep<A, SqlError | E, never> {
  readonly #owner: Owner
  readonly #statement: Statement<A, E>

  constructor(owner: Owner, statement: Statement<A, E>) {
    super()
    this.#owner = owner
    this.#statement = statement
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, SqlError | E> {
    const { operation, params, text } = this.#statement
    const problem = this.#owner.problemOf(operation, text, params)
    if (problem !== undefined) return Effect.fail(problem)
    return this.#owner.turns.useWithin(fiber, new Running(this.#owner, this.#statement))
  }
}

class Running<A, E> implements Work<A, SqlError, SqlError | E> {
  readonly #owner: Owner
  readonly #statement: Statement<A, E>
  readonly #run: Run | undefined
  readonly #late: Late | undefined

  constructor(owner: Owner, statement: Statement<A, E>) {
    const { late, millis, text } = statement
    this.#owner = owner
    this.#statement = statement
    this.#run = owner.recorder?.start(text.sql)
    if (this.#run !== undefined) owner.recorder!.enter(this.#run)
    this.#late = millis === Infinity ? undefined : owner.deadlines.add(millis, () => owner.late(late, millis))
  }

  refusal(): SqlError | E | undefined {
    return this.#statement.check() ?? this.#owner.lost(this.#statement.operation)
  }

  begin(): Effect.Effect<A, SqlError> {
    this.#owner.begun(this.#statement.text)
    return this.#statement.query()
  }

  ended(exit: Exit.Exit<A, SqlError>): void {
    this.#owner.ended(this.#statement.text, exit)
  }

  left(): void {
    if (this.#late !== undefined) this.#owner.deadlines.remove(this.#late)
    if (this.#run !== undefined) this.#owner.recorder!.finish(this.#run)
  }
}
