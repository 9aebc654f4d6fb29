/**
 * The goals of the library: ratios of costs within one run. Lower is better.
 *
 * One rule replaces a goal: if the floor of a run does not reach it, the ratio of the floor in that run is the goal. The
 * floor makes fewer promises than this library, and nothing is added for those. The rule does not look at what this library
 * reaches. So a goal that is stated here still holds on each machine on which the floor reaches it. `report/tables.ts` applies
 * the rule, and the record has both numbers.
 */
export interface Goal {
  readonly name: string
  /** The name of its case. */
  readonly case: string
  readonly subject: Side
  readonly against: Side
  /** The highest ratio that reaches the goal, unless the floor itself has a higher one. */
  readonly atMost: number
  /** The least code that does the same work, and its opponent. */
  readonly floor?: { readonly subject: Side; readonly against: Side } | undefined
}

/** A contestant of that case. */
export interface Side {
  readonly name: string
  /** Its load, or its figure. */
  readonly load?: string | undefined
}

/** One row of the table of goals: a subject against several others in one case, all at the same load. */
const row = (
  name: string,
  one: string,
  { load, name: subject }: Side,
  floor: string | undefined,
  atMost: Readonly<Record<string, number>>
): ReadonlyArray<Goal> =>
  Object.entries(atMost).map(([peer, most]) => {
    const against = { name: peer, load }
    return {
      name,
      case: one,
      subject: { name: subject, load },
      against,
      atMost: most,
      floor: floor === undefined || floor === peer ? undefined : { subject: { name: floor, load }, against }
    }
  })

/** One contestant at two loads, or two of its figures. */
const within = (
  name: string,
  one: string,
  who: string,
  load: string,
  against: string,
  atMost: number,
  floor?: string
): Goal => ({
  name,
  case: one,
  subject: { name: who, load },
  against: { name: who, load: against },
  atMost,
  floor: floor === undefined
    ? undefined
    : { subject: { name: floor, load }, against: { name: floor, load: against } }
})

const use = { name: "ours: use" }
const useSync = { name: "ours: useSync" }
const primitive = "floor: primitive"

/** Goals against Effect's own pool, the pools made of promises, and the smallest correct pool. */
const ofPools: ReadonlyArray<Goal> = [
  ...row("first benchmark: use", "alone", use, primitive, { "Pool.use": 1 }),
  ...row("first benchmark: synchronous use", "alone", useSync, "floor: sync", { "Pool.use": 0.6 }),
  ...row("first benchmark: 10k waiters", "line-10k", use, primitive, { "Pool.use": 0.5 }),

  ...row("use, uncontended", "alone", use, primitive, {
    "Pool.use": 1,
    "tarn": 0.3,
    "generic-pool": 0.7,
    "pg-pool": 0.5,
    [primitive]: 1.2
  }),
  ...row("synchronous use", "alone", useSync, "floor: sync", {
    "Pool.use": 0.55,
    "tarn": 0.15,
    "generic-pool": 0.35,
    "floor: sync": 1.25
  }),
  ...row("100 over 4, microtask", "crowd-microtask", use, primitive, {
    "Pool.use": 0.45,
    "tarn": 0.8,
    "generic-pool": 1.4,
    "pg-pool": 2,
    [primitive]: 1.4
  }),
  ...row("10k waiters", "line-10k", use, primitive, {
    "Pool.use": 0.4,
    "tarn": 0.65,
    "generic-pool": 1.3,
    [primitive]: 1.6
  }),
  ...row("100k waiters", "line-100k", { ...use, load: "100k" }, primitive, {
    "Pool.use": 0.16,
    "tarn": 0.08,
    "pg-pool": 0.05,
    "generic-pool": 1.25,
    [primitive]: 1.4
  }),
  // Whatever waits in such a line is copied by the garbage collector, so the floor is not flat either.
  within("100k waiters, flatness", "line-100k", use.name, "100k", "1k", 2, primitive),
  ...row("10k waiters with a deadline", "line-deadline", use, primitive, {
    "Pool.use": 0.15,
    "tarn": 0.85,
    "generic-pool": 1.3,
    [primitive]: 1.4
  }),
  ...row("half interrupted", "leave-interrupted", use, primitive, { "Pool.use": 0.5, "tarn": 0.6, [primitive]: 1.4 }),
  ...row("half timed out", "leave-timeout", use, primitive, { "Pool.use": 0.16, "tarn": 0.75, [primitive]: 1.4 }),
  ...row("heap per use", "heap-use", use, primitive, {
    "Pool.use": 1.2,
    "tarn": 1,
    "generic-pool": 1,
    [primitive]: 1.25
  }),
  ...row("heap per waiter", "heap-waiter", use, primitive, {
    "Pool.use": 0.5,
    "tarn": 1,
    "generic-pool": 1,
    [primitive]: 1.25
  }),
  ...row("heap per timed waiter", "heap-deadline", use, primitive, {
    "Pool.use": 0.2,
    "tarn": 1,
    "generic-pool": 1,
    [primitive]: 1.25
  }),
  ...row("what metrics cost", "alone", use, undefined, { "ours: use, no metrics": 1.15 }),
  // Not in the table of goals: what is less than a quarter apart counts as equal there.
  ...row("ten viewers of the inspector", "inspected", { name: "ours: use, ten viewers" }, undefined, {
    "ours: use": 1.1
  }),
  // Both find an open pool by its key; RcMap has no line, and closes nothing to make room.
  ...row("an open pool of a map", "map-hit", { name: "ours: PoolMap" }, undefined, { "RcMap.get": 1 }),
  within("flat as the pool grows", "growth-size", use.name, "1000", "1", 1.25, primitive),
  within("flat as more is held", "growth-held", use.name, "1000", "1", 1.25, primitive),
  within("flat as more wait", "growth-waiters", use.name, "100000", "1", 2, primitive)
]

const read = { name: "ours: read" }
const sql = { name: "ours: sql" }
const sqlSqliteNode = "@effect/sql-sqlite-node: sql"
const alike = "knex: builder, pool 1..4"
const readers = "floor: 1 writer, 3 readers"

/** A millisecond, of a transaction of 50. */
const oneMilli = 1 / 50

/** Of the same in Effect with `node:sqlite` and nothing between: a tie. (Of the load alone, that needs 1.1 to 1.4.) */
const mostReads = 1.25

const besideWriter = (gap: string, one: string, name: string): ReadonlyArray<Goal> => [
  ...row(`reads beside a writer, ${gap}`, one, { name, load: "per read" }, readers, { [readers]: mostReads }),
  within(`no reader starves, ${gap}`, one, name, "least served", "per read", 1.25, readers),
  within(`p99 beside a writer, ${gap}`, one, name, "p99", "transaction", oneMilli, readers)
]

/** Rows that many add at a time share commits; one who is alone must not pay for that. */
const writes = (synchronous: string, atMost: number): ReadonlyArray<Goal> => [
  ...row(`100 fibers write, ${synchronous}`, `writes-${synchronous}`, { ...sql, load: "100" }, "floor: group commit", {
    [sqlSqliteNode]: atMost
  }),
  ...row(`1 fiber writes, ${synchronous}`, `writes-${synchronous}`, { ...sql, load: "1" }, undefined, {
    "ours: sql, groupCommit off": 1.1
  })
]

const traced = { ...sql, load: "traced" }

/**
 * Goals against Node's own SQLite, Effect's client, clients on better-sqlite3, and the least code that does the same.
 */
const ofSqlite: ReadonlyArray<Goal> = [
  ...row("first benchmark: point reads through sql", "point-reads", sql, "floor: sql", { [sqlSqliteNode]: 0.5 }),
  ...row("point reads through sql", "point-reads", sql, "floor: sql", {
    [sqlSqliteNode]: 0.4,
    "kysely": 0.3,
    "knex: builder": 0.2,
    "node:sqlite": 2,
    "floor: sql": 1.4
  }),
  ...row("point reads through read", "point-reads", read, undefined, {
    "kysely": 0.3,
    "knex: raw": 0.2,
    "node:sqlite": 2.5
  }),
  within("flat as more statements are cached", "growth-statements", read.name, "200", "1", 1.25),
  ...besideWriter("gap 0", "beside-writer-gap0", read.name),
  ...besideWriter("gap 0", "beside-writer-gap0", sql.name),
  ...besideWriter("gap of a turn", "beside-writer-turn", read.name),
  ...besideWriter("gap of a turn", "beside-writer-turn", sql.name),
  ...besideWriter("gap of 5 ms", "beside-writer-5ms", read.name),
  ...besideWriter("gap of 5 ms", "beside-writer-5ms", sql.name),
  ...row("p99 beside a writer", "beside-writer-turn", { ...sql, load: "p99" }, readers, {
    [sqlSqliteNode]: 0.02,
    "knex: builder": 0.02
  }),
  ...row("two writers", "two-writers", { ...sql, load: "per commit" }, readers, { [alike]: 0.1, [readers]: 1.25 }),
  ...row("two writers, longest stall", "two-writers", { ...sql, load: "longest stall" }, readers, { [alike]: 0.05 }),
  ...writes("full", 0.05),
  ...writes("normal", 0.3),
  ...row("import of a million rows", "import-normal", { name: "ours: batch", load: "per row" }, undefined, {
    "node:sqlite": 1.3
  }),
  ...row("import of a million rows, full", "import-full", { name: "ours: batch", load: "per row" }, undefined, {
    "node:sqlite": 1.3
  }),
  // 20 ms, of an import of some seconds during which node:sqlite blocks the event loop.
  ...row("import, longest stall", "import-normal", { name: "ours: batch", load: "longest stall" }, undefined, {
    "node:sqlite": 0.02
  }),
  ...row("point reads, traced", "traced-read", traced, "floor: sql", { [sqlSqliteNode]: 0.45 }),
  ...row("insert and read in a transaction, traced", "traced-transaction", traced, "floor: transaction", {
    [sqlSqliteNode]: 0.5
  })
]

const scanning = (where: string) =>
  // 5 ms, of a scan of 20.
  within(
    `event loop beside scans, ${where}`,
    "workers-mixed",
    `ours: ${where}`,
    "event loop, p99",
    "a scan alone",
    0.25
  )

/** Goals of reads in threads, beside those in process. */
const ofWorkers: ReadonlyArray<Goal> = [
  scanning("scans on workers"),
  scanning("all on workers"),
  {
    name: "heavy reads on two workers",
    case: "workers-heavy",
    subject: { name: "ours: 2 workers" },
    against: { name: "ours: in process" },
    // 1.7 times as many, with two processors.
    atMost: 1 / 1.7,
    floor: { subject: { name: "floor: 2 threads" }, against: { name: "floor: in process" } }
  },
  ...row(
    "reads by key on workers, 100 at a time",
    "workers-point",
    { name: "ours: sql, on workers", load: "100" },
    undefined,
    {
      "ours: sql, in process": 2
    }
  ),
  within("reads by key beside 50 stuck queries", "workers-stuck", "ours: 1 worker", "beside them", "undisturbed", 2)
]

/** A lease for each statement or transaction costs at most as much as with the better one of its peers. */
const ofPostgres: ReadonlyArray<Goal> = [
  ...["1", "100"].flatMap((users) =>
    (["reads", "transactions"] as const).flatMap((what) =>
      row(
        `PostgreSQL, ${what} by ${users === "1" ? "1 fiber" : `${users} fibers`}`,
        `postgres-${what}-${users}`,
        { ...sql, load: "time" },
        "floor: connections",
        { "@effect/sql-pg: sql": 1.05, "pg.Pool": 1.05 }
      )
    )
  ),
  ...row(
    "PostgreSQL, shared reads by 100 fibers",
    "postgres-reads-100",
    { name: "ours: sql, sharedReads", load: "time" },
    undefined,
    { "@effect/sql-pg: sql, multiplex": 1 }
  )
]

export const goals: ReadonlyArray<Goal> = [...ofPools, ...ofSqlite, ...ofWorkers, ...ofPostgres]
