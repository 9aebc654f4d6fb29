/** Knows when the threads of a mode have nothing left to do. */
import { Effect } from "effect"
import { postMessageToThread, Worker } from "node:worker_threads"
import { threads as checkpoints } from "../../../src/sqlite/internal/file/checkpointThread.ts"

interface Watched {
  /** Its first message: it was started when that has come, or never will be. */
  readonly started: Promise<unknown>
  readonly ended: Promise<unknown>
  /** Whether it has not answered for long, and has sent nothing since. */
  isStuck: boolean
  /** Whether it has requests that are not answered. */
  isBusy: boolean
}

const threads = new Map<Worker, Watched>()
/** The ends of the threads that do a checkpoint. They send nothing. */
const ends = new Set<Promise<unknown>>()
/** The messages to threads and from them. */
let messages = 0

/** Begins to count the messages of all threads. */
export const watchThreads = (): void => {
  const send = Worker.prototype.postMessage
  Worker.prototype.postMessage = function(this: Worker, ...given: Parameters<Worker["postMessage"]>) {
    messages++
    if (!threads.has(this)) {
      const [started, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      const watched: Watched = { started: started.promise, ended: ended.promise, isStuck: false, isBusy: false }
      threads.set(this, watched)
      this.on("message", () => {
        messages++
        watched.isStuck = false
        started.resolve()
      })
      this.once("exit", () => {
        threads.delete(this)
        started.resolve()
        ended.resolve()
      })
    }
    return send.apply(this, given)
  } as Worker["postMessage"]
  // A thread with requests keeps its process.
  for (const [name, isBusy] of [["ref", true], ["unref", false]] as const) {
    const real = Worker.prototype[name]
    Worker.prototype[name] = function(this: Worker) {
      const watched = threads.get(this)
      if (watched !== undefined) watched.isBusy = isBusy
      return real.call(this)
    }
  }
  const { start } = checkpoints
  checkpoints.start = (data) => {
    const thread = start(data)
    const end = new Promise((resolve) => thread.once("exit", resolve))
    ends.add(end)
    void end.then(() => {
      ends.delete(end)
      messages++
    })
    return thread
  }
}

/** A thread that is inside SQLite for so long is not waited for. */
const stuckMillis = 15_000

/**
 * Ends when a thread has handled what was sent to it before. It has no listener for this message, and so refuses it. A thread
 * that is about to end does not even do that.
 */
const handled = async ([thread, watched]: [Worker, Watched]): Promise<void> => {
  await watched.started
  if (watched.isStuck) return
  const refused = postMessageToThread(thread.threadId, undefined, stuckMillis).catch(
    (error: { readonly code: string }) => {
      watched.isStuck = error.code === "ERR_WORKER_MESSAGING_TIMEOUT"
    }
  )
  await Promise.race([refused, watched.ended])
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

const pause = () => new Promise((resolve) => setTimeout(resolve, 1))

/** A request that is not answered after so many times waits for something: for its reader, or for another request. */
const mostTimes = 20

/* oxlint-disable no-await-in-loop -- One after the other is what it is about. */
const allHandled = async () => {
  await Promise.all(ends)
  const before = messages
  const isAwaited = () => messages === before && [...threads.values()].some(({ isBusy, isStuck }) => isBusy && !isStuck)
  // A refusal may come before a message on another port is handled, or its answer is here.
  for (let time = 0; time < 2 || (time < mostTimes && isAwaited()); time++) {
    await Promise.all([...threads].map(handled))
    await (time < 2 ? turn() : pause())
  }
  await turn()
}

/** Lets all fibers run that can, with `turns`, until no more messages come of it. */
export const settled = (turns: Effect.Effect<unknown>): Effect.Effect<void> =>
  Effect.gen(function*() {
    let before = -1
    while (messages !== before) {
      before = messages
      yield* turns
      yield* Effect.promise(allHandled)
    }
    yield* turns
  })
