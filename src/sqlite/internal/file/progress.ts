/** Work that reports its progress as a stream, and ends with it. */
import { Cause, Effect, Exit, Option, Queue, type Scope, Stream } from "effect"
import { PoolClosedError } from "../../../PoolError.ts"

/** The reports of running work. */
export type Reports<A, E> = Queue.Queue<A, E | Cause.Done>

/**
 * Runs work in a fiber of its own. The stream has its reports, and ends or fails when the work does. The work does not wait
 * for the reader of the stream: `kept` reports are kept, and a slow reader gets the newest. A stream that ends early
 * interrupts the work, and waits for its end.
 */
export const stream = <A, E, R>(
  pool: string,
  work: (reports: Reports<A, E | PoolClosedError>) => Effect.Effect<void, E, R | Scope.Scope>,
  kept: number
): Stream.Stream<A, E | PoolClosedError, R> =>
  Stream.callback<A, E | PoolClosedError, R | Scope.Scope>(
    (queue) =>
      // The reader of the stream waits for this fiber, which a shutdown may interrupt.
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(Effect.exit(restore(work(queue))), (exit) => {
          if (Exit.isSuccess(exit)) return Queue.end(queue)
          const failure = Cause.findErrorOption(exit.cause)
          if (Option.isSome(failure)) return Queue.fail(queue, failure.value)
          return Cause.hasInterruptsOnly(exit.cause)
            ? Queue.fail(queue, new PoolClosedError({ pool, phase: "shutting down" }))
            : Queue.failCause(queue, exit.cause)
        })
      ),
    { bufferSize: kept, strategy: "sliding" }
  ) as Stream.Stream<A, E | PoolClosedError, R>
