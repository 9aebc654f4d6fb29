/** More users than connections, each of whom does something asynchronous while it holds one. */
import { Effect, Exit } from "effect"
import type { Pool } from "../contenders/contender.ts"
import type { Lent } from "../contenders/ledger.ts"
import { repeat } from "./alone.ts"
import { Tally } from "./tally.ts"

/** What a user waits for while it holds a connection, as a callback and as a promise. */
export interface Pause {
  readonly callback: (go: () => void) => void
  readonly promise: () => Promise<void> | undefined
}

/** The shortest wait there is. */
export const microtask: Pause = { callback: queueMicrotask, promise: () => undefined }

/** One turn of the event loop, as with a query that is answered at once. */
export const turn: Pause = {
  callback: setImmediate,
  promise: () => new Promise((resolve) => void setImmediate(resolve))
}

/** Each of `users` uses a connection `uses` times. */
export const crowd = async (pool: Pool, users: number, uses: number, pause: Pause): Promise<void> => {
  const { promise: failed, reject } = Promise.withResolvers<never>()
  const tally = new Tally(users, () => {})
  const finish = () => tally.add("served")
  if (pool.style === "effect") {
    const work = () => pool.use(holding(pause))
    for (let user = 0; user < users; user++) {
      Effect.runFork(repeat(work, uses)).addObserver((exit) => Exit.isSuccess(exit) ? finish() : reject(exit.cause))
    }
  } else {
    const work = async () => {
      for (let use = 0; use < uses; use++) {
        const lent = await pool.acquire()
        lent.enter()
        await pause.promise()
        lent.leave()
        pool.release(lent)
      }
    }
    for (let user = 0; user < users; user++) void work().then(finish, reject)
  }
  await Promise.race([tally.done, failed])
}

const holding = ({ callback }: Pause) => (lent: Lent): Effect.Effect<void> =>
  Effect.callback((resume) => {
    lent.enter()
    callback(() => {
      lent.leave()
      resume(Exit.void)
    })
  })
