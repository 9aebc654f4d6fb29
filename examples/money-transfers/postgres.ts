/**
 * The main job on PostgreSQL: a primary and a replica, whose sessions are killed while the money moves. In the middle the primary
 * crashes, and the replica is promoted. Later the old primary comes back, and nothing may be written there.
 */
import { Console, Effect, Fiber, Option, References, Schedule, Stream } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { TemporaryPostgres } from "effect-connection-pool/testing"
import { accounts, balance, judge, type Lines, linesOf, type Order, rush, tableOf, Tally } from "./customers.ts"

const createBank = (server: TemporaryPostgres.TemporaryPostgres) =>
  Effect.gen(function*() {
    yield* server.query(
      "create table account (id int4 primary key, balance int4 not null check (balance >= 0))"
    )
    yield* server.query(
      "create table transfer (id text primary key, payer int4 not null, payee int4 not null, amount int4 not null)"
    )
    yield* server.query("insert into account select id, $1 from generate_series(1, $2) id", {
      params: [balance, accounts]
    })
  })

/** One transfer in one transaction. It runs again after a connection that was lost before its commit. */
const transferOn = (db: PgPool.PgPool) => ({ amount, begun, id, payee, payer, timeout }: Order) => {
  const { sql } = db
  return db.transaction(
    Effect.gen(function*() {
      yield* begun
      // In one order, so that no two transfers wait for each other.
      yield* sql`select id from account where id in (${payer}, ${payee}) order by id for update`
      const debit =
        yield* sql`update account set balance = balance - ${amount} where id = ${payer} and balance >= ${amount} returning id`
      if (debit.length === 0) return "declined" as const
      yield* sql`update account set balance = balance + ${amount} where id = ${payee}`
      yield* sql`insert into transfer (id, payer, payee, amount) values (${id}, ${payer}, ${payee}, ${amount})`
      return "committed" as const
    }),
    {
      label: "transfer",
      timeout,
      retry: Schedule.max([Schedule.jittered(Schedule.spaced("5 millis")), Schedule.recurs(1000)])
    }
  )
}

interface Readings {
  right: number
  wrong: number
  failed: number
}

/** Reads the sum of all money again and again, on the replica while there is one. */
const reader = ({ replicaSql }: PgPool.PgPool, readings: Readings) =>
  Effect.forever(
    Effect.andThen(
      Effect.matchEffect(replicaSql<{ money: number }>`select sum(balance)::int4 as money from account`, {
        onFailure: () => Effect.sync(() => void readings.failed++),
        onSuccess: ([row]) => Effect.sync(() => row?.money === accounts * balance ? readings.right++ : readings.wrong++)
      }),
      Effect.sleep(5)
    )
  )

const number = (rows: ReadonlyArray<Readonly<Record<string, unknown>>>): number => Number(Object.values(rows[0]!)[0])

export const postgres = Effect.fn("money-transfers-postgres")(
  function*(options: {
    readonly fibers: number
    readonly transfers: Option.Option<number>
    readonly poolSize: number
  }) {
    const { fibers, poolSize } = options
    const transfers = Option.getOrElse(options.transfers, () => 2000)
    const why = TemporaryPostgres.unavailable()
    if (why !== undefined) return yield* Console.log(`The job with PostgreSQL is skipped: ${why}`)
    yield* Console.error("starting a primary and a replica ...")
    const primary = yield* TemporaryPostgres.make()
    yield* createBank(primary)
    const replica = yield* primary.replica()
    // What is acknowledged must be on both, because one of them will crash.
    yield* primary.query("alter system set synchronous_standby_names = '*'")
    yield* primary.query("select pg_reload_conf()")

    const db = yield* PgPool.make({
      name: "bank",
      hosts: [primary, replica].map(({ host, port }) => `${host}:${port}`),
      username: "postgres",
      database: "postgres",
      max: poolSize,
      replicas: { max: poolSize }
    })
    const tally = new Tally()
    const acknowledged = new Set<string>()
    const open = new Set<string>()
    const readings: Readings = { right: 0, wrong: 0, failed: 0 }
    let awayMillis = 0
    let killed = 0
    let longestMillis = 0
    let lastAt = performance.now()

    yield* Effect.forkScoped(Stream.runForEach(db.hostEvents, (event) =>
      Effect.sync(() => {
        if (event._tag === "PrimaryFound") awayMillis += event.awayMillis ?? 0
      })))
    const readers = yield* Effect.forEach(Array.from({ length: 10 }), () => Effect.forkScoped(reader(db, readings)))
    const whileWritten = (share: number) =>
      Effect.repeat(Effect.sleep(10), { until: () => tally.finished >= transfers * share })
    const killing = yield* Effect.forkScoped(Effect.forever(
      Effect.andThen(
        Effect.sleep(1000),
        // A server that is down has no sessions to kill.
        Effect.forEach([primary, replica], (server) =>
          Effect.matchEffect(server.kill("postgres"), {
            onFailure: () => Effect.void,
            onSuccess: (count) => Effect.sync(() => void (killed += count))
          }), { discard: true })
      )
    ))
    const failover = yield* Effect.forkScoped(Effect.gen(function*() {
      yield* whileWritten(0.5)
      yield* primary.stop("immediate")
      yield* replica.promote
      yield* whileWritten(0.75)
      yield* primary.start
      return number(yield* primary.query("select count(*) from transfer"))
    }))

    const rate = yield* rush({
      fibers,
      transfers,
      transfer: transferOn(db),
      tally,
      stats: Effect.map(db.stats, ({ primary }) => primary),
      ended: (id, outcome) => {
        if (outcome === "committed") {
          acknowledged.add(id)
          longestMillis = Math.max(longestMillis, performance.now() - lastAt)
          lastAt = performance.now()
        }
        if (outcome === "open") open.add(id)
      }
    })
    const onOldPrimary = yield* Fiber.join(failover)
    yield* Fiber.interrupt(killing)
    yield* Fiber.interruptAll(readers)
    const idle = yield* db.stats
    const hosts = yield* db.hosts
    yield* db.shutdown()
    const { primary: writers, replicas } = yield* db.stats

    const money = number(yield* replica.query("select sum(balance) from account"))
    const ids = (yield* replica.query("select id from transfer")).map(({ id }) => String(id))
    const stored = new Set(ids)
    const oldAfter = number(yield* primary.query("select count(*) from transfer"))
    const left = number(
      yield* replica.query(
        "select count(*) from pg_stat_activity where backend_type = 'client backend' and application_name = 'bank'"
      )
    )

    const rows: Lines = [
      ...linesOf(tally, rate, [["  outcome unknown, the answer lost", tally.unknown]]),
      ["checkouts", writers.checkouts],
      ["connections created", writers.connects],
      ["connections closed", writers.disconnects],
      ["backends killed", killed],
      ["no primary was known for", `${Math.round(awayMillis)} ms`],
      ["writes were away, at most", `${Math.round(longestMillis)} ms`],
      ["reads beside them", readings.right],
      ["connections for reads", replicas!.connects]
    ]
    yield* Console.log(tableOf(`${fibers} fibers, ${poolSize} connections`, rows))
    yield* judge({
      "money is conserved": money === accounts * balance,
      "every acknowledged transfer is stored": Array.from(acknowledged).every((id) => stored.has(id)),
      "nothing else is stored, but for what was interrupted or is unknown": ids.every((id) =>
        acknowledged.has(id) || open.has(id)
      ),
      "everybody was answered": tally.finished === transfers && idle.primary.waiting === 0,
      "nothing failed that should not": tally.failed === 0,
      "every read saw all the money": readings.wrong === 0 && readings.failed === 0 && readings.right > 0,
      "nothing was written to the old primary": oldAfter === onOldPrimary &&
        hosts.some(({ host, role }) => host === `${primary.host}:${primary.port}` && role === "refused"),
      "no lease is lost": idle.primary.inUse === 0 && writers.checkouts === writers.returns,
      "all connections are closed": writers.total === 0 && replicas!.total === 0 && left === 0
    })
    // Sessions are lost all the time here, on purpose.
  },
  Effect.scoped,
  Effect.provideService(References.MinimumLogLevel, "Error")
)
