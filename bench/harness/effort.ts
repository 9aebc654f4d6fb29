/** How much is done: enough to judge by, or just enough to see that everything runs. */
export interface Effort {
  readonly isShort: boolean
  /** How many of `full` callers or uses. */
  readonly scale: (full: number) => number
  /** Which of the loads under which something grows. */
  readonly loads: (full: ReadonlyArray<number>) => ReadonlyArray<number>
  /** How many rounds, and how many before them to warm up. */
  readonly rounds: (full: number, warmups: number) => { readonly rounds: number; readonly warmups: number }
}

export const effort = (isShort: boolean): Effort => ({
  isShort,
  scale: (full) => isShort ? Math.max(full / 100, 10) : full,
  loads: (full) => isShort ? full.slice(0, 2) : full,
  rounds: (rounds, warmups) => isShort ? { rounds: 1, warmups: 0 } : { rounds, warmups }
})
