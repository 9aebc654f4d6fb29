import { type Cause, Effect, Queue, Stream } from "effect"
import * as PoolEvent from "../../PoolEvent.ts"

/** Those who read the events of a pool. Each has a queue of its own, and a slow one loses events, not the pool time. */
export class Events {
  readonly #readers = new Set<Reader>()
  #isOver = false

  /** Whether anybody reads. */
  get isWatched(): boolean {
    return this.#readers.size > 0
  }

  publish(event: PoolEvent.PoolEvent): void {
    for (const reader of this.#readers) {
      if (reader.missed > 0) {
        if (!Queue.offerUnsafe(reader.queue, PoolEvent.Missed({ events: reader.missed }))) {
          reader.missed++
          continue
        }
        reader.missed = 0
      }
      if (!Queue.offerUnsafe(reader.queue, event)) reader.missed++
    }
  }

  /** No more events will come: the streams end after what they still hold. */
  end(): void {
    this.#isOver = true
    for (const reader of this.#readers) Queue.endUnsafe(reader.queue)
  }

  /** The events from now on. `onChange` is told whenever a reader comes or goes. */
  stream(onChange: () => void): Stream.Stream<PoolEvent.PoolEvent> {
    return Stream.unwrap(Effect.gen({ self: this }, function*() {
      const reader: Reader = { queue: yield* Queue.dropping<PoolEvent.PoolEvent, Cause.Done>(capacity), missed: 0 }
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          // In the step in which it joins: the pool may have been closed since it asked.
          if (this.#isOver) Queue.endUnsafe(reader.queue)
          else {
            this.#readers.add(reader)
            onChange()
          }
        }),
        () =>
          Effect.sync(() => {
            this.#readers.delete(reader)
            onChange()
          })
      )
      // What a slow reader missed last was never followed by an event that could have said so.
      return Stream.concat(
        Stream.fromQueue(reader.queue),
        Stream.suspend(() =>
          reader.missed === 0 ? Stream.empty : Stream.make(PoolEvent.Missed({ events: reader.missed }))
        )
      )
    }))
  }
}

/** Events a reader may be behind before it misses some. */
const capacity = 1024

interface Reader {
  readonly queue: Queue.Queue<PoolEvent.PoolEvent, Cause.Done>
  missed: number
}
