/** What is measured: one kind of work, and everybody who does it. */
export interface Case {
  /** What `--cases` and the goals call it. */
  readonly name: string
  readonly title: string
  /** What the numbers are, such as `ns per use`. */
  readonly unit: string
  /** The contestant that the table compares the others with, at the same load. */
  readonly reference: string
  readonly rounds: number
  /** Rounds before those, which are dropped. */
  readonly warmups: number
  readonly contestants: ReadonlyArray<Contestant>
}

/** One contender under one load. */
export interface Contestant {
  readonly name: string
  /** What tells it from the same contender in the same case. */
  readonly load?: string | undefined
  /** What every round must come to. */
  readonly expected: Counts
  readonly open: () => Promise<Opened>
}

export interface Opened {
  readonly round: () => Promise<Round>
  /** Ends the contestant; fails if it has lost a connection, or has lent one twice. */
  readonly close: () => Promise<void>
}

export interface Round {
  /** What one use or one waiter cost, in the unit of the case. */
  readonly cost: number
  readonly counts: Counts
}

/** How callers fared. Whoever drops work is found out here. */
export interface Counts {
  readonly served: number
  readonly timedOut: number
  readonly interrupted: number
}

export const served = (callers: number): Counts => ({ served: callers, timedOut: 0, interrupted: 0 })
