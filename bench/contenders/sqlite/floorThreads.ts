/**
 * The least that reads in threads: what is asked for in one turn goes to a thread in one message, to the thread with the
 * fewest requests, and is answered in order. Nothing can be interrupted, nothing fails, and no thread may die.
 */
import { Effect, Exit } from "effect"
import { Worker } from "node:worker_threads"
import type { Item } from "./database.ts"
import { type Asked, floorReader } from "./floorReader.ts"
import type { Scanner } from "./workers.ts"

type Answer = (exit: Exit.Exit<unknown>) => void

class Thread {
  readonly #worker: Worker
  readonly #answers: Array<Answer> = []
  #asked: Array<Asked> = []

  constructor(filename: string) {
    this.#worker = new Worker(new URL("floorThread.ts", import.meta.url), { workerData: filename, execArgv: [] })
    this.#worker.on("message", (found: ReadonlyArray<unknown>) => {
      for (const [at, answer] of this.#answers.splice(0, found.length).entries()) answer(Exit.succeed(found[at]))
    })
  }

  get size(): number {
    return this.#answers.length
  }

  ask(asked: Asked, answer: Answer): void {
    this.#answers.push(answer)
    if (this.#asked.push(asked) === 1) queueMicrotask(() => this.#send())
  }

  close(): Promise<number> {
    return this.#worker.terminate()
  }

  #send(): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- A thread has no origin.
    this.#worker.postMessage(this.#asked)
    this.#asked = []
  }
}

/** With no thread, it reads in process. */
export const floorThreads = (count: number) => async (filename: string): Promise<Scanner> => {
  const threads = Array.from({ length: count }, () => new Thread(filename))
  const here = count === 0 ? floorReader(filename) : undefined
  const ask = (asked: Asked): Effect.Effect<unknown> =>
    here === undefined
      ? Effect.callback((answer) => threads.reduce((a, b) => b.size < a.size ? b : a).ask(asked, answer))
      : Effect.sync(() => here.answer(asked))
  return {
    style: "effect",
    read: (key) => ask(key) as Effect.Effect<Item>,
    scan: Effect.map(Effect.suspend(() => ask("scan")), (row) => (row as { readonly n: number }).n),
    close: async () => {
      here?.close()
      await Promise.all(threads.map((thread) => thread.close()))
    }
  }
}
