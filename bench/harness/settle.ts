import { setImmediate } from "node:timers/promises"

/** Waits until remaining work has ended: wakes, closing handles, finalizers of collected objects. */
export const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 3; turn++) await setImmediate()
}

/**
 * Removes what the last contestant has left: collects its young garbage and the native statements that belong to it,
 * and waits until the event loop is idle.
 *
 * The old generation of the heap is not collected. A full collection before each round throws away compiled code, and
 * made all code with Effect two to three times slower. In a profile nothing is collected by hand, because the profile
 * has to show the garbage of the work itself.
 */
export const settle = async (): Promise<void> => {
  globalThis.gc?.({ type: "minor", execution: "sync" })
  await turns()
}
