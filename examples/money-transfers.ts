/**
 * The main job: many fibers move money between the accounts of a real SQLite file, through one pool. Some are
 * interrupted in the middle of a transaction, some have no time to wait for a connection. In the end not a cent may be
 * missing, and not a connection.
 *
 *     npm start
 *     npm start -- --fibers 500 --transfers 50000 --pool-size 8 --file ./bank.db
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { SingleBar } from "cli-progress"
import Table from "cli-table3"
import {
  Cause,
  Clock,
  Console,
  Deferred,
  Effect,
  Exit,
  Fiber,
  FileSystem,
  Option,
  Path,
  Random,
  Schedule,
  Schema
} from "effect"
import { ConnectionPool } from "effect-connection-pool"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { Command, Flag } from "effect/cli"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { DatabaseSync } from "node:sqlite"

type Pool = ConnectionPool.ConnectionPool<SqliteConnection.SqliteConnection, SqlError>

const accounts = 100
const balance = 1000

/** What became of the transfers, and how long each that got a connection waited for it. */
class Tally {
  committed = 0
  declined = 0
  interrupted = 0
  timedOut = 0
  failed = 0
  readonly waits: Array<number> = []

  get finished(): number {
    return this.committed + this.declined + this.interrupted + this.timedOut + this.failed
  }
}

const createBank = (pool: Pool) =>
  pool.use((connection) =>
    Effect.gen(function*() {
      yield* connection.exec(`
        create table account (id integer primary key, balance integer not null check (balance >= 0));
        create table transfer (id integer primary key, payer integer not null, payee integer not null, amount integer not null);
      `)
      for (let id = 1; id <= accounts; id++) {
        yield* connection.run("insert into account (id, balance) values (?, ?)", [id, balance])
      }
    })
  )

/**
 * Another connection of this pool may be in a transaction; then SQLite refuses at once, and is asked again. Nobody waits
 * inside SQLite, which would stop all fibers.
 */
const whileLocked = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.retry(effect, {
    while: (error) => isSqlError(error) && error.reason._tag === "LockTimeoutError",
    schedule: Schedule.spaced("1 millis")
  })

/**
 * One transfer in one transaction. It gives the turn to others between its statements, so that it can be interrupted
 * there: then it is rolled back.
 */
const transfer = (connection: SqliteConnection.SqliteConnection, payer: number, payee: number, amount: number) =>
  Effect.andThen(
    whileLocked(connection.exec("begin immediate")),
    Effect.onError(
      Effect.gen(function*() {
        const debit = yield* connection.run(
          "update account set balance = balance - ? where id = ? and balance >= ?",
          [amount, payer, amount]
        )
        if (debit.changes === 0) {
          yield* connection.exec("rollback")
          return "declined"
        }
        yield* Effect.yieldNow
        yield* connection.run("update account set balance = balance + ? where id = ?", [amount, payee])
        yield* connection.run("insert into transfer (payer, payee, amount) values (?, ?, ?)", [payer, payee, amount])
        yield* Effect.yieldNow
        yield* connection.exec("commit")
        return "committed"
      }),
      () => Effect.ignore(connection.exec("rollback"))
    )
  )

/** One customer makes one transfer after the other. Every tenth is in a hurry, every tenth changes its mind. */
const customer = (pool: Pool, transfers: number, tally: Tally) =>
  Effect.gen(function*() {
    for (let count = 0; count < transfers; count++) {
      const mood = yield* Random.nextIntBetween(0, 10)
      const payer = yield* Random.nextIntBetween(1, accounts + 1)
      const payee = 1 + (payer + (yield* Random.nextIntBetween(0, accounts - 1))) % accounts
      const amount = yield* Random.nextIntBetween(1, 50)
      const begun = yield* Deferred.make<void>()
      const asked = yield* Clock.monotonicTimeNanos
      const attempt = pool.use(
        (connection) =>
          Effect.flatMap(Clock.monotonicTimeNanos, (now) => {
            tally.waits.push(Number(now - asked) / 1e6)
            Deferred.doneUnsafe(begun, Effect.void)
            return transfer(connection, payer, payee, amount)
          }),
        { label: "transfer", timeout: mood === 0 ? "2 millis" : undefined }
      )
      const fiber = yield* Effect.forkChild(attempt)
      if (mood === 1) {
        // In line, or somewhere in the transaction.
        if (yield* Random.nextBoolean) yield* Deferred.await(begun)
        yield* Effect.repeat(Effect.yieldNow, { times: yield* Random.nextIntBetween(0, 3) })
        yield* Fiber.interrupt(fiber)
      }
      const exit = yield* Fiber.await(fiber)
      if (Exit.isSuccess(exit)) tally[exit.value]++
      else if (Cause.hasInterruptsOnly(exit.cause)) tally.interrupted++
      else if (isTimeout(exit.cause)) tally.timedOut++
      else {
        tally.failed++
        yield* Console.error(Cause.pretty(exit.cause))
      }
    }
  })

const isTimeout = (cause: Cause.Cause<{ readonly _tag: string }>) =>
  cause.reasons.some((reason) => Cause.isFailReason(reason) && reason.error._tag === "AcquireTimeoutError")

/** What a plain handle that knows nothing of the pool finds in the file. */
const audit = (file: string) =>
  Effect.sync(() => {
    using database = new DatabaseSync(file, { readOnly: true })
    const money = database.prepare("select sum(balance) as money from account").get()!["money"]
    const integrity = database.prepare("pragma integrity_check").get()!["integrity_check"]
    const recorded = database.prepare("select count(*) as transfers from transfer").get()!["transfers"]
    return { money, integrity, recorded }
  })

const percentile = (sorted: ReadonlyArray<number>, share: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0

const millis = (value: number) => `${value.toFixed(2)} ms`

/** Without colours, so that it reads the same everywhere; and without a frame where that is wider than the terminal. */
const tableOf = (heading: string, rows: ReadonlyArray<readonly [string, string | number]>): string => {
  const table = new Table({
    head: [heading, ""],
    colAligns: ["left", "right"],
    style: { compact: true, head: [], border: [] }
  })
  table.push(...rows.map((row) => [...row]))
  return table.width <= (process.stdout.columns ?? Infinity)
    ? table.toString()
    : [heading, ...rows.map(([name, value]) => `${name}: ${value}`)].join("\n")
}

const job = Effect.fn("money-transfers")(function*(options: {
  readonly fibers: number
  readonly transfers: number
  readonly poolSize: number
  readonly file: Option.Option<string>
}) {
  const fileSystem = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const file = Option.isSome(options.file)
    ? options.file.value
    : path.join(yield* fileSystem.makeTempDirectoryScoped({ prefix: "money-transfers-" }), "bank.db")
  if (yield* fileSystem.exists(file)) {
    return yield* Effect.fail(new Error(`${file} exists already; this job makes a new file`))
  }

  const pool: Pool = yield* ConnectionPool.make({
    factory: SqliteConnection.factory({ filename: file }),
    name: "bank",
    max: options.poolSize
  })
  yield* createBank(pool)

  const tally = new Tally()
  const bar = new SingleBar({
    format: "{bar} {percentage}% | {value}/{total} transfers | {rate}/s | {inUse} in use, {waiting} in line",
    barCompleteChar: "█",
    barIncompleteChar: "░",
    // The numbers matter more than the bar.
    barsize: Math.max(10, Math.min(40, (process.stderr.columns ?? 110) - 70)),
    noTTYOutput: false
  })
  const begun = yield* Clock.monotonicTimeNanos
  const rate = (now: bigint) => Math.round(tally.finished / (Number(now - begun) / 1e9))
  const show = (now: bigint) =>
    Effect.map(pool.stats, ({ inUse, waiting }) => bar.update(tally.finished, { rate: rate(now), inUse, waiting }))
  bar.start(options.transfers, 0, { rate: 0, inUse: 0, waiting: 0 })
  const drawing = yield* Effect.forkChild(
    Effect.repeat(
      Effect.flatMap(Clock.monotonicTimeNanos, show),
      Schedule.spaced("50 millis")
    )
  )
  const share = Math.ceil(options.transfers / options.fibers)
  yield* Effect.forEach(
    Array.from({ length: options.fibers }, (_, fiber) => Math.min(share, options.transfers - fiber * share)),
    (transfers) => customer(pool, transfers, tally),
    { concurrency: "unbounded", discard: true }
  )
  const ended = yield* Clock.monotonicTimeNanos
  yield* Fiber.interrupt(drawing)
  yield* show(ended)
  bar.stop()

  const idle = yield* pool.stats
  const report = yield* pool.shutdown()
  const stats = yield* pool.stats
  const { integrity, money, recorded } = yield* audit(file)

  const waits = tally.waits.toSorted((a, b) => a - b)
  const rows: ReadonlyArray<readonly [string, string | number]> = [
    ["throughput", `${rate(ended)} transfers/s`],
    ["transfers committed", tally.committed],
    ["  declined, the payer being poor", tally.declined],
    ["  interrupted on purpose", tally.interrupted],
    ["  timed out on purpose", tally.timedOut],
    ["  failed", tally.failed],
    ["wait for a connection, p50", millis(percentile(waits, 0.5))],
    ["wait for a connection, p99", millis(percentile(waits, 0.99))],
    ["checkouts", stats.checkouts],
    ["acquires timed out", stats.timeouts],
    ["acquires interrupted in line", stats.cancelled],
    ["connections created", stats.connects],
    ["connections closed", stats.disconnects]
  ]
  yield* Console.log(tableOf(`${options.fibers} fibers, ${options.poolSize} connections`, rows))

  const verdict = {
    "money is conserved": money === accounts * balance,
    "the file is intact": integrity === "ok",
    // One that was interrupted may have committed before it heard of that.
    "what was committed is there, and nothing else": Number(recorded) >= tally.committed &&
      Number(recorded) <= tally.committed + tally.interrupted,
    "no lease is lost": idle.inUse === 0 && stats.checkouts === stats.returns,
    "everybody was answered": tally.finished === options.transfers && idle.waiting === 0,
    "nothing failed that should not": tally.failed === 0 && stats.timeouts === tally.timedOut,
    "all connections are closed": stats.total === 0 && stats.connects === stats.disconnects &&
      report.closeTimeouts === 0
  }
  for (const [claim, holds] of Object.entries(verdict)) yield* Console.log(`${holds ? "✓" : "✗"} ${claim}`)
  if (!Object.values(verdict).every((holds) => holds)) return yield* Effect.fail(new Error("the verdict is not true"))
}, Effect.scoped)

const positive = (name: string, description: string, value: number) =>
  Flag.Int(name).pipe(
    Flag.withDescription(`${description} (default ${value})`),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
    Flag.withDefault(value)
  )

const command = Command.make("money-transfers", {
  fibers: positive("fibers", "Fibers that make transfers at the same time", 100),
  transfers: positive("transfers", "Transfers in all", 10_000),
  poolSize: positive("pool-size", "Connections of the pool", 4),
  file: Flag.String("file").pipe(
    Flag.withDescription("The SQLite file, which must not exist; by default one in a temporary folder"),
    Flag.optional
  )
}, job).pipe(Command.withDescription("Moves money between accounts through a connection pool, and counts it"))

Command.run(command, { version: "0.1.0" }).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)

/* Prints:
┌…┬…┐
│ 100 fibers, 4 connections…│…│
├…┼…┤
│ throughput…│…transfers/s │
│ transfers committed…│…│
│   declined, the payer being poor…│…│
│   interrupted on purpose…│…│
│   timed out on purpose…│…│
│   failed…│…0 │
│ wait for a connection, p50…│…ms │
│ wait for a connection, p99…│…ms │
│ checkouts…│…│
│ acquires timed out…│…│
│ acquires interrupted in line…│…│
│ connections created…│…4 │
│ connections closed…│…4 │
└…┴…┘
✓ money is conserved
✓ the file is intact
✓ what was committed is there, and nothing else
✓ no lease is lost
✓ everybody was answered
✓ nothing failed that should not
✓ all connections are closed
*/
