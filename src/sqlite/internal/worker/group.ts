/**
 * Statements of several callers that share one transaction, and so one commit. Each caller gets the answer that it would get
 * alone. They stand one behind the other in the thread, so nothing comes between.
 */
import type { Handle } from "../connection/handle.ts"
import { whyUndone } from "../connection/shared.ts"
import { codeOfThrown, Failure, sqliteMessage } from "../failures.ts"
import type { Words } from "./word.ts"

/** The statement of one caller. */
export interface Member {
  /** The number of its request. */
  readonly id: number
  /** Runs it. Returns a function that sends the answer. Throws its failure. */
  readonly run: () => () => void
  /** Sends its failure. */
  readonly fail: (thrown: unknown) => void
}

/** How a group has ended. */
export type Outcome =
  /** The first `answers.length` members are done, and these functions answer them. */
  | { readonly tag: "done"; readonly answers: ReadonlyArray<() => void> }
  /** All is undone, and each member has to run alone. Without `why`, nothing has run. */
  | { readonly tag: "alone"; readonly why?: string }
  /** It could not be undone. Work that ran alone now would run inside of it. */
  | { readonly tag: "failed"; readonly thrown: unknown }

const alone: Outcome = { tag: "alone" }

/** Runs the statements of several callers together. Stores nothing unless the outcome is `done`. */
export const together = (
  handle: Handle,
  words: Words,
  members: ReadonlyArray<Member>,
  isTimeUp: () => boolean
): Outcome => {
  const { units } = handle
  try {
    // A row without its parent could be cured by the next caller, and its author would be told that it is stored.
    if (units.areKeysDeferred() || (units.hadDeferredKeys && units.hasDeferredKeys())) return alone
    units.begin("shared")
  } catch {
    // Another process has the lock, or worse. Each member meets that alone too, with the error that it has alone.
    return alone
  }
  let undone = alone
  try {
    if (!units.hasDeferredKeys()) {
      const ran = run(handle, members, isTimeUp)
      if (typeof ran !== "string" && agree(words, members, ran.length)) {
        units.commit()
        return { tag: "done", answers: ran }
      }
      undone = { tag: "alone", why: typeof ran === "string" ? ran : "a caller has left" }
    }
  } catch (thrown) {
    // The commit has failed, for a reason that concerns all. Each member meets its own reason alone.
    undone = { tag: "alone", why: sqliteMessage(thrown) }
  }
  try {
    units.rollback()
    return undone
  } catch (thrown) {
    return { tag: "failed", thrown }
  }
}

/** Thrown by a member that has to run alone, although it has not failed. */
export const apart = Symbol("apart")

/** Runs the statements until the time is up. Returns why all have to be undone, if they have to. */
const run = (
  handle: Handle,
  members: ReadonlyArray<Member>,
  isTimeUp: () => boolean
): ReadonlyArray<() => void> | string => {
  const answers: Array<() => void> = []
  for (const { fail, run } of members) {
    try {
      answers.push(handle.units.statement(undefined, run))
    } catch (thrown) {
      if (thrown === apart) return "its rows need several messages"
      const code = thrown instanceof Failure ? codeOfThrown(thrown.cause) : undefined
      const why = whyUndone(handle, code)
      if (why !== undefined) return why
      answers.push(() => fail(thrown))
    }
    if (isTimeUp()) break
  }
  return answers
}

/** Sets the words of the members to committing, unless one was cancelled. From then on, each of them waits for its answer. */
const agree = (words: Words, members: ReadonlyArray<Member>, count: number): boolean => {
  for (let at = 0; at < count; at++) if (words.isCancelled(members[at]!.id)) return false
  for (let at = 0; at < count; at++) if (!words.commit(members[at]!.id)) return false
  return true
}
