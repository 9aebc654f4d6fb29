/**
 * Virtual time: a clock that jumps to the next thing that happens, as soon as nothing is left to do at the present time.
 *
 * It also has the scheduler of its fibers. So it knows exactly when nothing is left to do: no task is scheduled. It never
 * waits for the clock of the machine. That is exact as long as no fiber waits for something outside, such as a promise.
 */
import { Clock, Context, Duration, Effect, Scheduler } from "effect"

/** Something that will happen. */
interface Due {
  readonly at: number
  /** Of two at one time, the one that was added first comes first. */
  readonly order: number
  /** Not set any more if it was cancelled. */
  task: (() => void) | undefined
}

export class VirtualTime {
  /** The time in milliseconds since the start. */
  now = 0
  readonly #heap: Array<Due> = []
  #added = 0
  #turn: Array<() => void> = []

  /** Adds a clock and a scheduler to the services of the fibers that live in this time. */
  provide<R>(context: Context.Context<R>): Context.Context<R> {
    const scheduler = new Scheduler.MixedScheduler("async", (task) => {
      let isCancelled = false
      this.#turn.push(() => {
        if (!isCancelled) task()
      })
      return () => {
        isCancelled = true
      }
    })
    return context.pipe(Context.add(Scheduler.Scheduler, scheduler), Context.add(Clock.Clock, this.#clock()))
  }

  #clock(): Clock.Clock {
    const nanos = () => BigInt(Math.round(this.now * 1e6))
    return {
      currentTimeMillisUnsafe: () => this.now,
      currentTimeMillis: Effect.sync(() => this.now),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos),
      monotonicTimeNanosUnsafe: nanos,
      monotonicTimeNanos: Effect.sync(nanos),
      sleep: (duration) => this.sleep(Duration.toMillis(duration))
    }
  }

  /** Waits in virtual time. */
  sleep(millis: number): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      const cancel = this.at(this.now + millis, () => resume(Effect.void))
      return Effect.sync(cancel)
    })
  }

  /** Has a function run at a time. Returns the function that cancels it. A time that is past, or infinite, is allowed. */
  at(millis: number, task: () => void): () => void {
    const due: Due = { at: Math.max(toNanos(millis), this.now), order: this.#added++, task }
    if (due.at < Infinity) push(this.#heap, due)
    return () => {
      due.task = undefined
    }
  }

  /** Goes to the next thing that happens, and does it with all that follows at once. Returns `false` if there is none. */
  step(): boolean {
    this.settle()
    for (;;) {
      const due = pop(this.#heap)
      if (due === undefined) return false
      if (due.task === undefined) continue
      this.now = due.at
      due.task()
      this.settle()
      return true
    }
  }

  /** Runs the turns of the event loop until nothing is left to do at this time. */
  settle(): void {
    while (this.#turn.length > 0) {
      const tasks = this.#turn
      this.#turn = []
      for (const task of tasks) task()
    }
  }
}

/** The clock of a fiber counts whole nanoseconds, so all times do. */
const toNanos = (millis: number): number => Math.round(millis * 1e6) / 1e6

const isBefore = (one: Due, other: Due): boolean =>
  one.at < other.at || (one.at === other.at && one.order < other.order)

const push = (heap: Array<Due>, due: Due): void => {
  let slot = heap.length
  heap.push(due)
  while (slot > 0) {
    const parent = (slot - 1) >>> 1
    if (!isBefore(due, heap[parent]!)) break
    heap[slot] = heap[parent]!
    slot = parent
  }
  heap[slot] = due
}

const pop = (heap: Array<Due>): Due | undefined => {
  const first = heap[0]
  const last = heap.pop()
  if (first === undefined || last === undefined || heap.length === 0) return first
  let slot = 0
  for (;;) {
    let child = 2 * slot + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
    if (!isBefore(heap[child]!, last)) break
    heap[slot] = heap[child]!
    slot = child
  }
  heap[slot] = last
  return first
}
