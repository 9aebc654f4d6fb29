/**
 * The main job: many fibers move money between the accounts of a real SQLite file, through one pool. Some are
 * interrupted in the middle of a transaction, some have no time to wait for a connection. In the end not a cent may be
 * missing, and not a connection.
 *
 *     npm start
 *     npm start -- --fibers 500 --transfers 50000 --pool-size 8 --file ./bank.db
 *     npm start -- --database postgres
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, FileSystem, Option, Path, Schedule, Schema } from "effect"
import { ConnectionPool } from "effect-connection-pool"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { Command, Flag } from "effect/cli"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { DatabaseSync } from "node:sqlite"
import { accounts, balance, judge, linesOf, rush, tableOf, Tally } from "./money-transfers/customers.ts"
import { postgres } from "./money-transfers/postgres.ts"

type Pool = ConnectionPool.ConnectionPool<SqliteConnection.SqliteConnection, SqlError>

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

/** What a plain handle that knows nothing of the pool finds in the file. */
const audit = (file: string) =>
  Effect.sync(() => {
    using database = new DatabaseSync(file, { readOnly: true })
    const money = database.prepare("select sum(balance) as money from account").get()!["money"]
    const integrity = database.prepare("pragma integrity_check").get()!["integrity_check"]
    const recorded = database.prepare("select count(*) as transfers from transfer").get()!["transfers"]
    return { money, integrity, recorded }
  })

const sqlite = Effect.fn("money-transfers")(function*(options: {
  readonly fibers: number
  readonly transfers: Option.Option<number>
  readonly poolSize: number
  readonly file: Option.Option<string>
}) {
  const transfers = Option.getOrElse(options.transfers, () => 10_000)
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
  const rate = yield* rush({
    fibers: options.fibers,
    transfers,
    transfer: ({ amount, begun, payee, payer, timeout }) =>
      pool.use((connection) => Effect.andThen(begun, transfer(connection, payer, payee, amount)), {
        label: "transfer",
        timeout
      }),
    tally,
    stats: pool.stats
  })

  const idle = yield* pool.stats
  const report = yield* pool.shutdown()
  const stats = yield* pool.stats
  const { integrity, money, recorded } = yield* audit(file)

  const rows = [
    ...linesOf(tally, rate, []),
    ["checkouts", stats.checkouts],
    ["acquires timed out", stats.timeouts],
    ["acquires interrupted in line", stats.cancelled],
    ["connections created", stats.connects],
    ["connections closed", stats.disconnects]
  ] as const
  yield* Console.log(tableOf(`${options.fibers} fibers, ${options.poolSize} connections`, rows))

  yield* judge({
    "money is conserved": money === accounts * balance,
    "the file is intact": integrity === "ok",
    // One that was interrupted may have committed before it heard of that.
    "what was committed is there, and nothing else": Number(recorded) >= tally.committed &&
      Number(recorded) <= tally.committed + tally.interrupted,
    "no lease is lost": idle.inUse === 0 && stats.checkouts === stats.returns,
    "everybody was answered": tally.finished === transfers && idle.waiting === 0,
    "nothing failed that should not": tally.failed === 0 && stats.timeouts === tally.timedOut,
    "all connections are closed": stats.total === 0 && stats.connects === stats.disconnects &&
      report.closeTimeouts === 0
  })
}, Effect.scoped)

const positive = (name: string, description: string, value: number) =>
  Flag.Int(name).pipe(
    Flag.withDescription(`${description} (default ${value})`),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
    Flag.withDefault(value)
  )

const command = Command.make("money-transfers", {
  fibers: positive("fibers", "Fibers that make transfers at the same time", 100),
  transfers: Flag.Int("transfers").pipe(
    Flag.withDescription("Transfers in all (default 10000; with postgres 2000)"),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
    Flag.optional
  ),
  poolSize: positive("pool-size", "Connections of the pool", 4),
  file: Flag.String("file").pipe(
    Flag.withDescription("The SQLite file, which must not exist; by default one in a temporary folder"),
    Flag.optional
  ),
  database: Flag.Literals("database", ["sqlite", "postgres"]).pipe(
    Flag.withDescription("sqlite, the default; or postgres: a primary and a replica, with a failover in the middle"),
    Flag.withDefault("sqlite" as const)
  )
}, (options) => options.database === "postgres" ? postgres(options) : sqlite(options)).pipe(
  Command.withDescription("Moves money between accounts through a connection pool, and counts it")
)

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
