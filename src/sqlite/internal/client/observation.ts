/** Observations: streams that run a query again after each commit that may have changed its result. */
import { Effect, Latch, Stream } from "effect"
import type { AcquireOptions } from "../../../ConnectionPool.ts"
import { PoolClosedError, type PoolConfigError } from "../../../PoolError.ts"
import type { Execution } from "../contract/execution.ts"
import type { ObserveOptions } from "../contract/observe.ts"
import type { Commits, Listener } from "../file/commits.ts"
import type { Sides, WorkerPool } from "../file/sides.ts"
import { resolveObserve } from "../options/pool.ts"
import { Changes, everything, type Reads } from "../sql/tables.ts"
import { targetOf } from "./execution.ts"

/** Remembers whether a query has to run, from what it has read and what was committed since. */
export class Observer implements Listener {
  readonly reads: Execution
  readonly #due = Latch.makeUnsafe(true)
  #reads: Reads = everything
  #since = new Changes()
  #isOver = false

  constructor(reads: Execution) {
    this.reads = reads
  }

  /** Whether the database is shut down. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** Waits until the query has to run, or the database is shut down. */
  get due(): Effect.Effect<void> {
    return this.#due.await
  }

  /** The query is about to run. Until it has ended, it is not known what it reads. */
  begin(): void {
    this.#since = new Changes()
    this.#reads = everything
    if (!this.#isOver) this.#due.closeUnsafe()
  }

  /** The query has run, and has read this. What was committed meanwhile may be missing in its result. */
  end(reads: Reads): void {
    this.#reads = reads
    const isDue = this.#isOver || (!this.#since.isEmpty && this.#since.concern(reads))
    if (!isDue) this.#due.closeUnsafe()
  }

  /** The query has failed, or was interrupted. */
  readonly failed = (): void => {
    this.#due.openUnsafe()
  }

  readonly committed = (changes: Changes): void => {
    this.#since.add(changes)
    if (changes.concern(this.#reads)) this.#due.openUnsafe()
  }

  readonly ended = (): void => {
    this.#isOver = true
    this.#due.openUnsafe()
  }
}

/** The pools of a database, and what is known of its commits. */
export interface Observable extends Sides {
  readonly commits: Commits
}

/** Where an observed query runs. */
export type Target = "in-process" | WorkerPool

/**
 * The results of a query: the first at once, and another after each commit that may have changed it.
 *
 * The query runs only when a result is asked for. So a slow reader gets the newest result, and none is computed that nobody
 * reads. It runs in the fiber that reads the stream.
 */
export const observe = <A, E, R>(
  pools: Observable,
  options: ObserveOptions<A> | undefined,
  run: (observer: Observer, options: AcquireOptions, target: Target) => Effect.Effect<A, E, R>
): Stream.Stream<A, E | PoolClosedError | PoolConfigError, R> =>
  Stream.scoped(Stream.fromPull(Effect.gen(function*() {
    const { commits, settings: { name } } = pools
    const { acquire, execution, isSame } = yield* Effect.fromResult(resolveObserve(name, options))
    const target = yield* Effect.withFiber((fiber) => {
      const target = targetOf(pools, fiber, execution)
      return Effect.isEffect(target) ? target : Effect.succeed(target)
    })
    const observer = new Observer(target === "in-process" ? target : "worker")
    yield* Effect.acquireRelease(
      Effect.sync(() => commits.add(observer)),
      () => Effect.sync(() => commits.remove(observer))
    )
    let last: { readonly value: A } | undefined
    const next: Effect.Effect<readonly [A], E | PoolClosedError, R> = Effect.flatMap(observer.due, () => {
      if (observer.isOver) return Effect.fail(new PoolClosedError({ pool: name, phase: "shutting down" }))
      const ran = Effect.onError(run(observer, acquire, target), () => Effect.sync(observer.failed))
      return Effect.flatMap(ran, (value) => {
        if (isSame === undefined) return Effect.succeed([value] as const)
        if (last !== undefined && isSame(last.value, value)) return next
        last = { value }
        return Effect.succeed([value] as const)
      })
    })
    return next
  })))
