/** Sums up the time between each `start` and its `stop`, in nanoseconds. */
export interface Watch {
  readonly start: () => void
  readonly stop: () => void
  readonly nanos: () => number
}

/** Time as a user sees it. */
export const wallClock = (): Watch => watch(() => performance.now() * 1e6)

/**
 * Processor time of the whole process, for work that mostly waits for timers. The threads of the collector count too.
 */
export const cpuClock = (): Watch =>
  watch(() => {
    const { system, user } = process.cpuUsage()
    return (system + user) * 1e3
  })

const watch = (now: () => number): Watch => {
  let startedAt = 0
  let nanos = 0
  return {
    start: () => {
      startedAt = now()
    },
    stop: () => {
      nanos += now() - startedAt
    },
    nanos: () => nanos
  }
}
