/**
 * A pool as an operator sees it, live in the terminal while work runs: connections, the line, waits and health as bars,
 * and above them what happens. The database has a bad day: one statement is slow, connections die while idle, and for a
 * while none can be opened. It is one that only exists in this process, so that it can have one.
 *
 *     npm run example -- operator-view
 *     npm run example -- operator-view --fibers 60 --max 12 --seconds 60
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { MultiBar, Presets } from "cli-progress"
import { Clock, Console, Effect, Fiber, Logger, Metric, Random, Schedule, Schema } from "effect"
import { ConnectionPool, HealthChecker, type HealthReport, type PoolError, PoolMetrics } from "effect-connection-pool"
import { FaultyFactory } from "effect-connection-pool/testing"
import { Command, Flag } from "effect/cli"

type Pool = ConnectionPool.ConnectionPool<FaultyFactory.FaultyConnection, FaultyFactory.FaultyError>

/** A customer: asks for a connection, works with it for some milliseconds, and comes back after a while. */
const customer = (pool: Pool) =>
  Effect.gen(function*() {
    const work = yield* Random.nextBetween(2, 40)
    const [text, takes] = work < 3
      ? ["select * from orders order by total", 400] as const
      : ["select * from stock where id = ?", work] as const
    yield* pool.use((connection) => connection.statement(text, takes), { label: "customer" })
    yield* Effect.sleep(yield* Random.nextBetween(0, 60))
  }).pipe(Effect.ignore, Effect.forever)

/** What goes wrong, and when: a share of the time there is. */
const badDay = Effect.fnUntraced(function*(
  faulty: FaultyFactory.FaultyFactory,
  pool: Pool,
  seconds: number
) {
  const pause = Effect.sleep(`${seconds / 5} seconds`)
  const dying = Effect.flatMap(
    pool.connections,
    (connections) =>
      Effect.forEach(connections.filter((_, place) => place % 2 === 0), ({ id }) => faulty.sever(id), { discard: true })
  )
  yield* pause
  yield* Effect.log("*** half of the connections die, and nobody notices")
  yield* dying
  yield* pause
  yield* Effect.log("*** the database is down: none can be opened, and those that are open die")
  yield* faulty.connect.fail(100_000, { transient: true })
  yield* Effect.flatMap(
    pool.connections,
    (connections) => Effect.forEach(connections, ({ id }) => faulty.kill(id), { discard: true })
  )
  yield* pause
  yield* Effect.log("*** the database is back")
  yield* faulty.connect.clear
})

/** The least bound that so much of what was measured is below, going by the buckets since the last look. */
const quantile = (share: number, now: Metric.HistogramState, before: Metric.HistogramState): string => {
  const count = now.count - before.count
  const found = now.buckets.find(([, upTo], place) => upTo - before.buckets[place]![1] >= share * count)
  if (count === 0) return "-"
  return found === undefined ? "over a minute" : `<= ${found[0] * 1000} ms`
}

/** What a holder does, and for how long. */
const held = ({ heldMillis, statement }: PoolError.Holder): string =>
  `${statement?.text ?? "nothing yet"}, ${Math.round(heldMillis)} ms`

interface Options {
  readonly fibers: number
  readonly max: number
  readonly seconds: number
}

const view = Effect.fn("operator-view")(function*(options: Options) {
  const bars = new MultiBar({
    format: "{name} {bar} {value}/{total} {note}",
    hideCursor: true,
    noTTYOutput: true,
    notTTYSchedule: 1000
  }, Presets.rect)
  // The log of the pool scrolls by above the bars.
  const logger = Logger.make(({ logLevel, message }) => bars.log(`${logLevel}: ${String(message)}\n`))
  yield* Effect.provide(watch(options, bars), Logger.layer([logger]))
})

const watch = Effect.fnUntraced(function*(options: Options, bars: MultiBar) {
  const faulty = yield* FaultyFactory.make()
  yield* faulty.connect.delay("50 millis")
  yield* faulty.validate.delay("2 millis")
  const pool: Pool = yield* ConnectionPool.make({
    factory: faulty.factory,
    name: "shop",
    min: Math.ceil(options.max / 2),
    max: options.max,
    acquireTimeout: "5 seconds",
    slowStatement: "200 millis"
  })
  const health = yield* HealthChecker.make(pool, { interval: "500 millis" })
  const metrics = PoolMetrics.of("shop")

  const bar = (name: string, total: number) => bars.create(total, 0, { name: name.padEnd(8), note: "" })
  const inUse = bar("in use", options.max)
  const idle = bar("idle", options.max)
  const waiting = bar("waiting", options.fibers)
  const time = bar("seconds", options.seconds)
  let before = { at: yield* Clock.currentTimeMillis, waits: yield* Metric.value(metrics.waitTime) }
  let report: HealthReport.HealthReport = yield* health.report
  const show = Effect.gen(function*() {
    const stats = yield* pool.stats
    const now = yield* Clock.currentTimeMillis
    const waits = yield* Metric.value(metrics.waitTime)
    const rate = Math.round((waits.count - before.waits.count) / Math.max(now - before.at, 1) * 1000)
    report = yield* health.report
    const [longest] = yield* pool.holders
    inUse.update(stats.inUse, { note: `${rate} leases/s${longest === undefined ? "" : `, longest: ${held(longest)}`}` })
    idle.update(stats.idle, { note: `${stats.connecting} connecting, ${stats.closing} closing` })
    waiting.update(stats.waiting, {
      note: `half wait ${quantile(0.5, waits, before.waits)}, 99 % ${quantile(0.99, waits, before.waits)}, ` +
        `${stats.timeouts} timed out`
    })
    time.increment(0, { note: `health: ${report.status}` })
    before = { at: now, waits }
  })

  const customers = yield* Effect.forEach(
    Array.from({ length: options.fibers }),
    () => Effect.forkChild(customer(pool))
  )
  const showing = yield* Effect.forkChild(Effect.repeat(show, Schedule.spaced("200 millis")))
  yield* Effect.forkChild(badDay(faulty, pool, options.seconds))
  for (let second = 1; second <= options.seconds; second++) {
    yield* Effect.sleep("1 second")
    time.update(second)
  }
  yield* Fiber.interrupt(showing)
  yield* Fiber.interruptAll(customers)
  yield* show
  bars.stop()
  const stats = yield* pool.stats
  yield* Console.log(
    `${stats.checkouts} leases, ${stats.timeouts} timeouts, ${stats.connects} connections opened, ` +
      `${stats.connectFailures} attempts failed; health: ${report.status}`
  )
  const [slowest] = yield* pool.slowStatements
  if (slowest === undefined) return
  yield* Console.log(`slow: "${slowest.text}", ${slowest.runs} times, 99 % within ${Math.round(slowest.p99Millis)} ms`)
}, Effect.scoped)

const positive = (name: string, description: string, value: number) =>
  Flag.Int(name).pipe(
    Flag.withDescription(description),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
    Flag.withDefault(value)
  )

const command = Command.make("operator-view", {
  fibers: positive("fibers", "Fibers that use connections", 30),
  max: positive("max", "Connections of the pool", 8),
  seconds: positive("seconds", "How long", 20)
}, view).pipe(Command.withDescription("Shows a pool live while work runs and its database has a bad day"))

Command.run(command, { version: "0.1.0" }).pipe(
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)

/* Prints, besides what it shows while it runs:
… leases, … timeouts, … connections opened, … attempts failed; health: healthy
slow: "select * from orders order by total", … times, 99 % within … ms
*/
