import { type Cause, Effect, Queue, Stream } from "effect"

/**
 * The readers of the events of a pool. Each has its own queue. A slow reader misses events, and the pool never waits.
 */
export class Events<A> {
  readonly #readers = new Set<Reader<A>>()
  /** Whether an event is one of a lease. There are many of them, so some readers do without. */
  readonly #isOfLease: (event: A) => boolean
  /** Makes the event that tells a slow reader how many it has missed. */
  readonly #missed: (events: number) => A
  #isOver = false

  constructor(missed: (events: number) => A, isOfLease: (event: A) => boolean = () => false) {
    this.#missed = missed
    this.#isOfLease = isOfLease
  }

  /** Whether anybody reads all events, those of leases too. */
  get isWatched(): boolean {
    for (const { readsLeases } of this.#readers) if (readsLeases) return true
    return false
  }

  publish(event: A): void {
    for (const reader of this.#readers) {
      if (!reader.readsLeases && this.#isOfLease(event)) continue
      if (reader.missed > 0) {
        if (!Queue.offerUnsafe(reader.queue, this.#missed(reader.missed))) {
          reader.missed++
          continue
        }
        reader.missed = 0
      }
      if (!Queue.offerUnsafe(reader.queue, event)) reader.missed++
    }
  }

  /** Ends the streams. They still give the events that they hold. */
  end(): void {
    this.#isOver = true
    for (const reader of this.#readers) Queue.endUnsafe(reader.queue)
  }

  /** The events from now on, with those of leases or without. `onChange` is called whenever a reader joins or leaves. */
  stream(onChange: () => void, readsLeases = true): Stream.Stream<A> {
    return Stream.unwrap(Effect.gen({ self: this }, function*() {
      const reader: Reader<A> = { queue: yield* Queue.dropping<A, Cause.Done>(capacity), missed: 0, readsLeases }
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          // The pool may have been closed after the reader asked, so it is looked at in the step in which the reader
          // joins.
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
      // If a slow reader missed the last events, no later event could report that.
      return Stream.concat(
        Stream.fromQueue(reader.queue),
        Stream.suspend(() => reader.missed === 0 ? Stream.empty : Stream.make(this.#missed(reader.missed)))
      )
    }))
  }
}

/** The number of events by which a reader may be behind before it misses some. */
const capacity = 1024

interface Reader<A> {
  readonly queue: Queue.Queue<A, Cause.Done>
  readonly readsLeases: boolean
  missed: number
}
