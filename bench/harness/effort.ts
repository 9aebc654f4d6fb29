import type { Case } from "./case.ts"

/** How much work is done: enough for a judgement, or just enough to see that everything runs. */
export interface Effort {
  readonly isShort: boolean
  /** How many of `full` callers or uses. */
  readonly scale: (full: number) => number
  /** Which of the loads under which something grows. */
  readonly loads: (full: ReadonlyArray<number>) => ReadonlyArray<number>
  /** How many rounds in each process, how many before them to warm up, and how many processes. Default: 3. */
  readonly rounds: (full: number, warmups: number, processes?: number) => Pick<Case, "rounds" | "warmups" | "processes">
}

export const effort = (isShort: boolean): Effort => ({
  isShort,
  scale: (full) => isShort ? Math.max(full / 100, 10) : full,
  loads: (full) => isShort ? full.slice(0, 2) : full,
  rounds: (rounds, warmups, processes = 3) =>
    isShort ? { rounds: 1, warmups: 0, processes: 1 } : { rounds, warmups, processes }
})
