import { setImmediate } from "node:timers/promises"

/**
 * Lets what the last contestant left behind come to an end: wakes, finalizers, closed handles.
 *
 * The heap is left alone. A forced collection before each round throws compiled code away and made everything written
 * in Effect two to three times slower; many short rounds in random order spread the collector's work fairly instead.
 */
export const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 3; turn++) await setImmediate()
}
