/** One request to a thread as an Effect. */
import { Effect, Exit } from "effect"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import { postponeInterrupt } from "../../../internal/runtime.ts"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import { exitOf } from "../errors.ts"
import { sqliteMessage } from "../failures.ts"
import type { Host } from "./host.ts"
import type { Pending, Receiver } from "./pending.ts"

type RequestError = SqlError | LeaseExpiredError

/** The outcome of a request: its exit, and who waits for it. */
class Outcome<A> implements Receiver {
  readonly #host: Host
  readonly #take: (rows: ReadonlyArray<ReadonlyArray<unknown>>, columns: ReadonlyArray<string>) => void
  readonly #value: (value: unknown) => A
  readonly #operation: string
  pending: Pending | undefined = undefined
  exit: Exit.Exit<A, RequestError> | undefined = undefined
  resume: ((exit: Exit.Exit<A, RequestError>) => void) | undefined = undefined

  constructor(host: Host, operation: string, take: Receiver["rows"], value: (value: unknown) => A) {
    this.#host = host
    this.#operation = operation
    this.#take = take
    this.#value = value
  }

  rows(rows: ReadonlyArray<ReadonlyArray<unknown>>, columns: ReadonlyArray<string>): void {
    this.#take(rows, columns)
    this.#host.credit(this.pending!, 1)
  }

  ended(value: unknown): void {
    this.#end(Exit.succeed(this.#value(value)))
  }

  failed(thrown: unknown, isUnknown: boolean): void {
    this.#end(isUnknown ? Exit.fail(outcomeUnknown(thrown, this.#operation)) : exitOf(thrown))
  }

  cancelled(): void {
    // Its caller was interrupted, and has gone.
  }

  #end(exit: Exit.Exit<A, RequestError>): void {
    this.exit = exit
    this.resume?.(exit)
  }
}

export interface Options<A> {
  readonly host: Host
  readonly operation: string
  /** Makes the request. Called once. */
  readonly begin: (receiver: Receiver) => Pending
  readonly take: Receiver["rows"]
  readonly value: (value: unknown) => A
}

/**
 * Makes a request and waits for its answer.
 *
 * An interrupt ends the wait at once if the request could be cancelled: then nothing of it is stored, although the thread may
 * still be at it. If it is being committed, the interrupt comes too late. Then this waits for the answer and succeeds with
 * it, and the fiber is interrupted when it waits again.
 */
export const request = <A>({ begin, host, operation, take, value }: Options<A>): Effect.Effect<A, RequestError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const outcome = new Outcome(host, operation, take, value)
      const wait = Effect.callback<A, RequestError>((resume) => {
        if (outcome.exit === undefined) outcome.resume = resume
        else resume(outcome.exit)
      })
      const made = Effect.suspend(() => {
        outcome.pending = begin(outcome)
        return outcome.exit ?? wait
      })
      return Effect.flatMap(Effect.exit(restore(made)), (exit) => {
        if (Exit.isSuccess(exit) || outcome.exit !== undefined) return outcome.exit ?? exit
        const { pending } = outcome
        if (pending === undefined || host.cancel(pending)) return exit
        // Too late: it is being committed, or its answer is on the way.
        return Effect.flatMap(Effect.exit(wait), (answer) =>
          Effect.withFiber((fiber) => {
            postponeInterrupt(fiber, restore)
            return answer
          }))
      })
    })
  )

/** The error for work that may be stored, or not. No retry could be right. */
export const outcomeUnknown = (thrown: unknown, operation: string): SqlError => {
  const message =
    `${operation}: it is not known whether it was stored, because ${sqliteMessage(thrown)} while it was ` +
    "being committed: look in the database before you run it again"
  const error = new SqlError({ reason: new UnknownError({ cause: thrown, message, operation }) })
  unknown.add(error)
  return error
}

const unknown = new WeakSet<object>()

/** Whether it is unknown what became of the work that failed with this error. */
export const isOutcomeUnknown = (error: object): boolean => unknown.has(error)
