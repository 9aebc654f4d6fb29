/** Rounds: they validate idle connections for a health check, or to keep them alive. */
import * as PoolEvent from "../../PoolEvent.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { close, closeFor } from "./leaving.ts"
import { beginOperation, settle } from "./lending.ts"
import { isDead, isExpired } from "./reasons.ts"
import { type Entry, open, report, type Round, type State, upkeepBy } from "./state.ts"
import { connect, room } from "./supply.ts"

export const ask = <C>(state: State<C>, entry: Entry<C>, round: Round<C>, now: number): void => {
  beginOperation(state, entry, state.validating, now)
  entry.round = round
  round.running++
}

/** Puts a round into the line of rounds. When it is first, it validates all idle connections. */
export const beginRound = <C>(state: State<C>, round: Round<C>, now: number): void => {
  state.rounds.push(round)
  goOn(state, now)
}

/** Continues the first round, and begins the next when one is over. Called whenever a round may be able to continue. */
export const goOn = <C>(state: State<C>, now: number): void => {
  for (let round = state.rounds[0]; round !== undefined && isOver(state, round, now); round = state.rounds[0]) {
    state.rounds.shift()
    state.finished.push(round)
    state.isPending = true
    report(state, PoolEvent.Checked({ passed: round.passed, failed: round.failed.length, busy: round.busy }))
    upkeepBy(state, now)
  }
}

/** Begins as many validations as may run now. Answers whether the round is over: all connections have answered. */
const isOver = <C>(state: State<C>, round: Round<C>, now: number): boolean => {
  round.left ??= Array.from(LinkedList.members(state.idle))
  let asked = 0
  for (const entry of round.left) {
    // While a validation runs, one idle connection is left for callers.
    const running = round.running + state.keepalive.running
    if (running >= round.concurrency || (running > 0 && state.idle.length === 1)) break
    asked++
    if (entry.list === state.idle) askOrAnswer(state, entry, round, now)
    else round.busy++
  }
  round.left = round.left.slice(asked)
  settle(state, now)
  return round.left.length === 0 && round.running === 0 && !awaitsConnection(state, round, now)
}

const askOrAnswer = <C>(state: State<C>, entry: Entry<C>, round: Round<C>, now: number): void => {
  if (isExpired(entry, now)) close(state, entry, "lifetime")
  else if (isDead(state, entry)) {
    round.failed.push({ connection: entry.id, reason: "dead" })
    closeFor(state, entry, "dead", now)
  } else if (state.driver.validates) ask(state, entry, round, now)
  else round.passed++
}

/**
 * Whether the round has to wait for a connect attempt. It does if it has found no connection that works, to know
 * whether the database can be reached.
 */
const awaitsConnection = <C>(state: State<C>, round: Round<C>, now: number): boolean => {
  if (round.isCancelled) return false
  if (round.attempt !== undefined) return round.connected === undefined
  if (!round.mayConnect || state.paused || round.passed > 0) return false
  if (round.failed.length === 0 && open(state) > 0) return false
  const { closing, connecting } = state
  if (connecting.tail === undefined) {
    // During a backoff, the failed attempts have given the answer.
    if (now < state.refillAt) return false
    // If the pool is full, closing connections make room.
    const free = room(state, now)
    if (free <= 0) return free + closing.length > 0
    connect(state, now)
  }
  round.attempt = connecting.tail
  return true
}

/** Tells the first round that a connect attempt has ended, if it waits for this one. */
export const noteAttempt = <C>(state: State<C>, entry: Entry<C>, succeeded: boolean, now: number): void => {
  const round = state.rounds[0]
  if (round === undefined || round.attempt !== entry) return
  round.connected = succeeded
  goOn(state, now)
}

/** Ends a round whose caller was interrupted. Validations under way go on, and no other begins. */
export const cancelRound = <C>(state: State<C>, round: Round<C>, now: number): void => {
  const index = state.rounds.indexOf(round)
  round.isCancelled = true
  round.left = []
  if (index > 0) state.rounds.splice(index, 1)
  else goOn(state, now)
}
