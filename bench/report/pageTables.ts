/**
 * The tables of README.md and of pages in docs/ that quote the record of the last full run. Each stands in its page
 * between `<!-- measured: NAME -->` and `<!-- end -->`. `npm run bench:charts` writes them, and test/documentedFigures.test.ts holds
 * them to the record.
 */
export interface PageTable {
  readonly name: string
  /** The title of the first column. */
  readonly corner: string
  /** Whom the rows are compared with, by the titles of their columns. Of several, the first that took part in the case. */
  readonly columns: Readonly<Record<string, string | ReadonlyArray<string>>>
  /** A row without figures, because its case is not in the record, is left out. */
  readonly rows: ReadonlyArray<PageRow>
  /** Whether it is of what was measured on Node 26. Default false. */
  readonly node26?: boolean
  /** What stands above it. So a table without figures leaves no words behind. Default: nothing. */
  readonly before?: string
  /** The chart below it. Default: none. */
  readonly chart?: string
}

export interface PageRow {
  readonly label: string
  readonly case: string
  readonly subject: string
  readonly load?: string
}

/** What each of some contestants costs, in figures that are no ratios. */
export interface CostTable {
  readonly name: string
  readonly case: string
  /** What stands above it, as for a `PageTable`. */
  readonly before?: string
  /** The figures, by the titles of their columns. */
  readonly columns: Readonly<Record<string, string>>
  readonly contestants: ReadonlyArray<string>
}

const row = (label: string, one: string, subject: string, load?: string): PageRow =>
  load === undefined ? { label, case: one, subject } : { label, case: one, subject, load }

const pools = {
  "beside Effect's `Pool.use`": "Pool.use",
  "tarn": "tarn",
  "generic-pool": "generic-pool",
  "pg-pool": "pg-pool"
}

const clients = {
  "beside `node:sqlite`": "node:sqlite",
  "`@effect/sql-sqlite-node`": "@effect/sql-sqlite-node: sql",
  "kysely": "kysely",
  "knex": "knex: builder"
}

const inShort = [
  row("`use`, one user", "alone", "ours: use"),
  row("`useSync`, one user", "alone", "ours: useSync"),
  row("100 users, 4 connections", "crowd-microtask", "ours: use")
]

const withDeadline = row("10 000 in line with a deadline each", "line-deadline", "ours: use")

const throughSql = row("reads by key, `sql`", "point-reads", "ours: sql")

const beside = { "beside `@effect/sql-sqlite-node`": "@effect/sql-sqlite-node: sql" }

const writes = ["full", "normal"].flatMap((synchronous) =>
  ["1", "10", "100"].map((users) =>
    row(
      `rows added by ${users === "1" ? "1 fiber" : `${users} fibers`}, \`${synchronous}\``,
      `writes-${synchronous}`,
      "ours: sql",
      users
    )
  )
)

const mixed = ["full", "normal"].map((synchronous) =>
  row(`100 fibers, 9 reads for each row added, \`${synchronous}\``, `mixed-${synchronous}`, "ours: sql")
)

const statements = (load: string, tracer: string): ReadonlyArray<PageRow> => [
  row(`a read by key, ${tracer}`, "traced-read", "ours: sql", load),
  row(`a row added, \`normal\`, ${tracer}`, "traced-insert", "ours: sql", load),
  row(`a transaction of both, \`normal\`, ${tracer}`, "traced-transaction", "ours: sql", load)
]

const traced = statements("traced", "with a tracer")

const postgres = (label: string, what: string, figure: string, who = "ours: sql"): ReadonlyArray<PageRow> =>
  ["1", "100"].map((users) =>
    row(`${label}, ${users === "1" ? "1 fiber" : `${users} fibers`}`, `postgres-${what}-${users}`, who, figure)
  )

export const pageTables: ReadonlyArray<PageTable> = [
  { name: "pools, in short", corner: "", columns: pools, rows: [...inShort, withDeadline] },
  {
    name: "pools",
    corner: "",
    columns: pools,
    rows: [
      ...inShort,
      row("10 000 in line", "line-10k", "ours: use"),
      row("100 000 in line", "line-100k", "ours: use", "100k"),
      withDeadline,
      row("half of 10 000 in line interrupted", "leave-interrupted", "ours: use"),
      row("memory of one in line", "heap-waiter", "ours: use"),
      row("memory of an idle pool", "idle-pools", "ours: use", "heap bytes")
    ]
  },
  { name: "reads, in short", corner: "", columns: clients, rows: [throughSql] },
  {
    name: "reads",
    corner: "",
    columns: clients,
    rows: [throughSql, row("reads by key, `read`", "point-reads", "ours: read")]
  },
  {
    name: "writes",
    corner: "",
    columns: {
      ...beside,
      "`groupCommit: false`": "ours: sql, groupCommit off",
      "better-sqlite3": "better-sqlite3",
      "drizzle": "drizzle: prepared",
      "kysely": "kysely",
      "knex": "knex: builder",
      "the floor": "floor: group commit"
    },
    rows: [...writes, ...mixed],
    chart: "![Rows added in a second, by how many fibers add them](../bench/results/writes.svg)"
  },
  {
    name: "group commit",
    corner: "",
    columns: { "beside `groupCommit: false`": "ours: sql, groupCommit off", ...beside },
    rows: writes
  },
  {
    name: "traced",
    corner: "",
    columns: { ...beside, "the floor": ["floor: sql", "floor: transaction"] },
    rows: [...traced, ...statements("untraced", "without a tracer")]
  },
  {
    name: "start",
    corner: "",
    columns: {
      "beside `node:sqlite`": "node:sqlite",
      "`@effect/sql-sqlite-node`": "@effect/sql-sqlite-node: make",
      "better-sqlite3": "better-sqlite3",
      "knex": "knex: builder"
    },
    rows: [
      row("a pool, to its first row", "start", "ours: make", "first row"),
      row("a layer, to its first row", "start", "ours: layer", "first row"),
      row("to close it", "start", "ours: make", "close")
    ]
  },
  {
    name: "imports",
    corner: "a million rows in one transaction",
    columns: { "beside `node:sqlite`": "node:sqlite", "`@effect/sql-sqlite-node`": "@effect/sql-sqlite-node: sql" },
    rows: ["normal", "full"].flatMap((synchronous) => [
      row(`time, \`${synchronous}\``, `import-${synchronous}`, "ours: batch", "per row"),
      row(
        `longest stall of the event loop, \`${synchronous}\``,
        `import-${synchronous}`,
        "ours: batch",
        "longest stall"
      )
    ])
  },
  {
    name: "workers",
    before: "These are the costs of a worker as ratios: below 1 it is faster than in process.",
    corner: "",
    columns: {
      "beside in process": ["ours: in process", "ours: sql, in process"]
    },
    rows: [
      row("heavy reads on two workers", "workers-heavy", "ours: 2 workers"),
      row("reads by key, `sql`, 100 at a time", "workers-point", "ours: sql, on workers", "100"),
      row("reads by key, `sql`, alone", "workers-point", "ours: sql, on workers", "1"),
      row("10 000 rows of 5 columns, `sql`", "workers-rows", "ours: sql, on a worker", "all"),
      row("10 000 rows, longest stall", "workers-rows", "ours: sql, on a worker", "longest stall"),
      row("10 000 rows, `stream`, longest stall", "workers-rows", "ours: stream, on a worker", "longest stall")
    ]
  },
  {
    name: "postgres",
    before:
      "The [benchmark](../bench/README.md) measures it with 8 connections, in ratios: below 1 this pool takes less. \"Processor time\" is that of\n" +
      "the client alone. The floor lends the same connections, and promises nothing else.",
    corner: "",
    columns: {
      "beside `@effect/sql-pg`": "@effect/sql-pg: sql",
      "with `multiplex`": "@effect/sql-pg: sql, multiplex",
      "`pg.Pool`": "pg.Pool",
      "the floor": "floor: Pool.use"
    },
    rows: [
      ...postgres("reads by key, `sql`", "reads", "time"),
      ...postgres("reads by key, `sharedReads`", "reads", "time", "ours: sql, sharedReads"),
      ...postgres("transactions of one update", "transactions", "time"),
      ...postgres("processor time of reads by key", "reads", "processor"),
      ...postgres("processor time of transactions", "transactions", "processor")
    ]
  },
  {
    name: "node 26",
    corner: "on Node 26",
    columns: { "beside Effect's `Pool.use`": "Pool.use", "`@effect/sql-sqlite-node`": "@effect/sql-sqlite-node: sql" },
    rows: [...inShort, row("10 000 in line", "line-10k", "ours: use"), throughSql, ...writes, ...mixed, ...traced],
    node26: true
  }
]

export const costTables: ReadonlyArray<CostTable> = [
  {
    name: "workers, mixed",
    case: "workers-mixed",
    before:
      "In a full run, 100 fibers shared two workers. For each scan of about 20 ms, there were 19 reads by key. An event\n" +
      "loop that does nothing has a p99 of about 1100 µs there.",
    columns: {
      "event loop, p99, µs": "event loop, p99",
      "its longest stall, µs": "event loop, longest",
      "per read, µs": "per operation",
      "read by key, p99, µs": "read by key, p99"
    },
    contestants: ["ours: all in process", "ours: scans on workers", "ours: all on workers", "ours: auto"]
  },
  {
    name: "workers, stuck",
    case: "workers-stuck",
    before:
      "In a full run, 50 callers left queries that run for seconds on one worker or on two. Meanwhile 100 fibers read by\n" +
      "key in process, with two processors:",
    columns: {
      "per read before, µs": "undisturbed",
      "per read beside them, µs": "beside them",
      "workers left behind": "abandoned"
    },
    contestants: ["ours: 1 worker", "ours: 2 workers"]
  },
  {
    name: "workers, start",
    case: "workers-start",
    before: "This is what a worker takes to start, up to the first row, and to be replaced after its thread has ended:",
    columns: {
      "first row, µs": "first row",
      "next row, µs": "next row",
      "after its thread has ended, µs": "after a crash"
    },
    contestants: ["ours: worker"]
  },
  {
    name: "workers, memory",
    case: "workers-memory",
    before: "This is what each of ten connections holds that do nothing:",
    columns: {
      "memory of the process, bytes": "resident bytes",
      "heap, bytes": "heap bytes here",
      "heap of its thread, bytes": "heap bytes in its thread"
    },
    contestants: ["ours: worker", "ours: reader in process"]
  },
  {
    name: "idle",
    case: "idle-databases",
    columns: { "heap, bytes": "heap bytes", "memory of the process, bytes": "resident bytes", "timers": "timers" },
    contestants: [
      "ours: make",
      "node:sqlite",
      "@effect/sql-sqlite-node: make",
      "better-sqlite3",
      "kysely",
      "drizzle: prepared",
      "knex: builder"
    ]
  }
]

/** The goals that were not reached: a table of its own. */
export const missedGoals = "goals not reached"

/** Which run the figures are of: no table, but words. */
export const ofWhichRun = "run"
