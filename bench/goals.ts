/** What the library wants to reach, as data: ratios within one run, lower is better. */
export interface Goal {
  readonly name: string
  /** The case it is about. */
  readonly case: string
  readonly subject: Side
  readonly against: Side
  /** The ratio is to be no more than this. */
  readonly atMost: number
}

/** A contestant of that case. */
export interface Side {
  readonly name: string
  readonly load?: string | undefined
}

/** One row of the table of goals: a subject against several others in one case. */
const row = (
  name: string,
  one: string,
  subject: Side,
  atMost: Readonly<Record<string, number>>,
  load?: string
): ReadonlyArray<Goal> =>
  Object.entries(atMost).map(([against, most]) => ({
    name,
    case: one,
    subject,
    against: { name: against, load },
    atMost: most
  }))

const use = { name: "ours: use" }
const useSync = { name: "ours: useSync" }

/** Against what uses Effect's own pool, the pools made of promises, and the smallest pool that is correct. */
export const goals: ReadonlyArray<Goal> = [
  ...row("first benchmark: use", "alone", use, { "Pool.use": 1 }),
  ...row("first benchmark: synchronous use", "alone", useSync, { "Pool.use": 0.6 }),
  ...row("first benchmark: 10k waiters", "line-10k", use, { "Pool.use": 0.5 }),

  ...row("use, uncontended", "alone", use, {
    "Pool.use": 1,
    "tarn": 0.3,
    "generic-pool": 0.7,
    "pg-pool": 0.5,
    "floor: primitive": 1.2
  }),
  ...row("synchronous use", "alone", useSync, {
    "Pool.use": 0.55,
    "tarn": 0.15,
    "generic-pool": 0.35,
    "floor: sync": 1.25
  }),
  ...row("100 over 4, microtask", "crowd-microtask", use, {
    "Pool.use": 0.45,
    "tarn": 0.8,
    "generic-pool": 1.4,
    "pg-pool": 2,
    "floor: primitive": 1.4
  }),
  ...row("10k waiters", "line-10k", use, {
    "Pool.use": 0.4,
    "tarn": 0.65,
    "generic-pool": 1.3,
    "floor: primitive": 1.6
  }),
  ...row("100k waiters", "line-100k", { ...use, load: "100k" }, {
    "Pool.use": 0.16,
    "tarn": 0.08,
    "pg-pool": 0.05,
    "generic-pool": 1.25,
    "floor: primitive": 1.4
  }, "100k"),
  {
    name: "100k waiters, flatness",
    case: "line-100k",
    subject: { ...use, load: "100k" },
    against: { ...use, load: "1k" },
    atMost: 2
  },
  ...row("10k waiters with a deadline", "line-deadline", use, {
    "Pool.use": 0.15,
    "tarn": 0.85,
    "generic-pool": 1.3,
    "floor: primitive": 1.4
  }),
  ...row("half interrupted", "leave-interrupted", use, { "Pool.use": 0.5, "tarn": 0.6, "floor: primitive": 1.4 }),
  ...row("half timed out", "leave-timeout", use, { "Pool.use": 0.16, "tarn": 0.75, "floor: primitive": 1.4 }),
  ...row("heap per use", "heap-use", use, {
    "Pool.use": 1.2,
    "tarn": 1,
    "generic-pool": 1,
    "floor: primitive": 1.25
  }),
  ...row("heap per waiter", "heap-waiter", use, {
    "Pool.use": 0.5,
    "tarn": 1,
    "generic-pool": 1,
    "floor: primitive": 1.25
  }),
  ...row("heap per timed waiter", "heap-deadline", use, {
    "Pool.use": 0.2,
    "tarn": 1,
    "generic-pool": 1,
    "floor: primitive": 1.25
  }),
  ...row("what metrics cost", "alone", use, { "ours: use, no metrics": 1.15 }),
  ...row("point reads through sql", "point-reads", { name: "ours: sql" }, {
    "@effect/sql-sqlite-node: sql": 0.5,
    "floor: sql": 1.4
  }),
  ...row("point reads through read", "point-reads", { name: "ours: read" }, { "node:sqlite": 2.5 }),
  // That one waits for the whole transaction, 50 ms: this is 1 ms.
  ...row("reads beside a writer, p99", "beside-writer", { name: "ours: sql", load: "p99" }, {
    "@effect/sql-sqlite-node: sql": 0.02
  }, "p99"),
  // Not in the table of goals: what is less than a quarter apart counts as equal there.
  {
    name: "flat as the pool grows",
    case: "growth-size",
    subject: { ...use, load: "1000" },
    against: { ...use, load: "1" },
    atMost: 1.25
  },
  {
    name: "flat as more is held",
    case: "growth-held",
    subject: { ...use, load: "1000" },
    against: { ...use, load: "1" },
    atMost: 1.25
  }
]
