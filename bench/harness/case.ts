/** What is measured: one kind of work, and everybody who does it. */
export interface Case {
  /** What `--cases` and the goals call it. */
  readonly name: string
  readonly title: string
  /** What the numbers are, such as `ns per use`. */
  readonly unit: string
  /** The contestant that the table compares the others with, at the same load. */
  readonly reference: string
  /** Processes that do all of it, one after the other. */
  readonly processes: number
  /** Rounds in each process. */
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
  /** What every round must come to; where some are bound to fail, only how many must have come to an end. */
  readonly expected: Counts | number
  readonly open: () => Promise<Opened>
}

export interface Opened {
  readonly round: () => Promise<Round>
  /** Ends the contestant; fails if it has lost a connection, or has lent one twice. */
  readonly close: () => Promise<void>
}

export interface Round {
  /** What one use or one waiter cost, in the unit of the case; or several figures, each of which becomes a load. */
  readonly cost: number | Readonly<{ [figure: string]: number }>
  readonly counts: Counts
}

/** The cost of what nobody got. */
export const starved = Infinity

/** How callers fared. Whoever drops work is found out here. */
export interface Counts {
  readonly served: number
  readonly timedOut: number
  readonly interrupted: number
  /** Refused by the database, because somebody else was writing. */
  readonly busy: number
}

export const counts = (some: Partial<Counts>): Counts => ({
  served: 0,
  timedOut: 0,
  interrupted: 0,
  busy: 0,
  ...some
})

export const served = (callers: number): Counts => counts({ served: callers })

export const sum = (all: ReadonlyArray<Counts>): Counts =>
  all.reduce((a, b) => ({
    served: a.served + b.served,
    timedOut: a.timedOut + b.timedOut,
    interrupted: a.interrupted + b.interrupted,
    busy: a.busy + b.busy
  }), counts({}))
