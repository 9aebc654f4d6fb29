/** A case: one kind of work, and all contestants that do it. */
export interface Case {
  /** Its name for `--cases` and the goals. */
  readonly name: string
  readonly title: string
  /** The unit of the numbers, such as `ns per use`. */
  readonly unit: string
  /** The contestant that the table compares the others with, at the same load. */
  readonly reference: string
  /** The number of processes that run the case, one after the other. */
  readonly processes: number
  /** Rounds in each process. */
  readonly rounds: number
  /** Rounds before those, to warm up. They are not counted. */
  readonly warmups: number
  readonly contestants: ReadonlyArray<Contestant>
}

/** One contender under one load. */
export interface Contestant {
  readonly name: string
  /** Distinguishes it from the same contender in the same case. */
  readonly load?: string | undefined
  /** The result that every round must have. If some uses have to fail, only the number of uses that must have ended. */
  readonly expected: Counts | number
  readonly open: () => Promise<Opened>
}

export interface Opened {
  readonly round: () => Promise<Round>
  /** Ends the contestant. Fails if it has lost a connection, or has lent one twice. */
  readonly close: () => Promise<void>
}

export interface Round {
  /** The cost of one use or one waiter, in the unit of the case; or several figures, each of which becomes a load. */
  readonly cost: number | Readonly<{ [figure: string]: number }>
  readonly counts: Counts
}

/** The cost of uses that did not happen at all. */
export const starved = Infinity

/** What happened to the callers. It shows a contender that drops work. */
export interface Counts {
  readonly served: number
  readonly timedOut: number
  readonly interrupted: number
  /** Callers that the database refused, because another was writing. */
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
