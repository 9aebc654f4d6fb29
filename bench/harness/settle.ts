import { setImmediate } from "node:timers/promises"

/** Lets what was left behind come to an end: wakes, closed handles, finalizers of what was collected. */
export const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 3; turn++) await setImmediate()
}

/**
 * Makes a contestant begin with nothing that the last one left behind: its young garbage is collected, with the native
 * statements that hang on it, and the event loop comes to rest.
 *
 * The old part of the heap is left alone. A full collection before each round throws compiled code away and made
 * everything written in Effect two to three times slower; a minor one does not. In a profile nothing is collected by
 * hand: it is to show what the work itself leaves to the collector.
 */
export const settle = async (): Promise<void> => {
  globalThis.gc?.({ type: "minor", execution: "sync" })
  await turns()
}
