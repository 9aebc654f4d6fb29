/** Connections that are all held, and callers who queue up for them. */
import { Cause, Effect, Exit } from "effect"
import assert from "node:assert/strict"
import type { EffectPool, Pool, PromisePool } from "../contenders/contender.ts"
import type { Lent } from "../contenders/ledger.ts"
import { turns } from "../harness/settle.ts"
import type { Tally } from "./tally.ts"

/** Takes so many connections, and answers with the way to return them. */
export const hold = async (pool: Pool, connections: number): Promise<() => void> => {
  const releases: Array<() => void> = []
  const enter = (lent: Lent, release: () => void) => {
    lent.enter()
    releases.push(() => {
      lent.leave()
      release()
    })
  }
  for (let i = 0; i < connections; i++) {
    if (pool.style === "effect") {
      Effect.runFork(pool.use((lent) => Effect.callback<void>((resume) => enter(lent, () => resume(Exit.void)))))
    } else {
      const lent = await pool.acquire()
      enter(lent, () => pool.release(lent))
    }
  }
  await turns()
  assert.equal(releases.length, connections, "not all connections could be held")
  return () => {
    for (const release of releases) release()
  }
}

/** Adds callers at the end of the line. */
export const queueUp = (pool: Pool, callers: number, tally: Tally): void => {
  if (pool.style === "effect") {
    const observe = observer(pool, tally)
    for (let i = 0; i < callers; i++) Effect.runFork(pool.touch()).addObserver(observe)
  } else {
    for (let i = 0; i < callers; i++) void call(pool, pool.acquire(), tally)
  }
}

/** Adds callers at the end of the line, and answers with the way to have each of them leave it. */
export const queueUpFor = (pool: Pool, callers: number, tally: Tally): ReadonlyArray<() => void> => {
  if (pool.style === "effect") {
    const observe = observer(pool, tally)
    return Array.from({ length: callers }, () => {
      const fiber = Effect.runFork(pool.touch())
      fiber.addObserver(observe)
      return () => fiber.interruptUnsafe()
    })
  }
  return Array.from({ length: callers }, () => {
    const { abort, promise } = pool.request!()
    void call(pool, promise, tally)
    return abort
  })
}

const observer = (pool: EffectPool, tally: Tally) => (exit: Exit.Exit<void, unknown>): void => {
  if (Exit.isSuccess(exit)) return tally.add("served")
  if (Cause.hasInterruptsOnly(exit.cause)) return tally.add("interrupted")
  const error = Cause.squash(exit.cause)
  if (!pool.isTimeout(error)) throw error
  tally.add("timedOut")
}

/** One caller: what a fiber is in the other style. */
const call = async (pool: PromisePool, acquired: Promise<Lent>, tally: Tally): Promise<void> => {
  try {
    const lent = await acquired
    lent.enter()
    lent.leave()
    pool.release(lent)
    tally.add("served")
  } catch (error) {
    tally.add(pool.isTimeout(error) ? "timedOut" : "interrupted")
  }
}
