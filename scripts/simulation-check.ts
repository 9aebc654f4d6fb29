/**
 * Compares a simulation with a real SQLite pool under the same load: the same arrivals, and leases that take as long.
 *
 *     npm run build && node scripts/simulation-check.ts [--check] [--seconds 20]
 *
 * The real pool is measured on the clock of this machine, so run it while nothing else runs. With `--check` it fails if the
 * 99 % quantiles of the waits differ by more than 30 %.
 */
import { Clock, Effect } from "effect"
import { PoolSimulation } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"

const { values } = parseArgs({
  options: { check: { type: "boolean", default: false }, seconds: { type: "string", default: "20" } }
})

const readers = 4
const seconds = Number(values.seconds)

/** Numbers from 0 to below 1 that are the same every time. */
let state = 7
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return state / 2 ** 32
}
const exponential = (mean: number) => -Math.log(1 - random()) * mean

/** A load of 0.8: each lease reads, and then waits for 20 ms on average, as for another service. */
const load: Array<{ readonly at: number; readonly lease: number }> = []
for (let at = exponential(6.25); at < seconds * 1000; at += exponential(6.25)) {
  load.push({ at, lease: exponential(20) })
}

interface Seen {
  readonly at: number
  readonly wait: number
  readonly lease: number
}

const real = Effect.gen(function*() {
  const { read, sql, write } = yield* SqlitePool.SqlitePool
  yield* sql`create table item (id integer primary key, name text)`
  yield* write((connection) => connection.exec("insert into item (name) values ('a'), ('b'), ('c')"))
  // The connections are opened before, as after the warm-up of a simulation.
  yield* Effect.forEach(Array.from({ length: readers }), () => read(() => Effect.sleep("20 millis")), {
    concurrency: "unbounded"
  })
  const now = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)
  const start = yield* now
  return yield* Effect.forEach(load, ({ at, lease }) =>
    Effect.gen(function*() {
      yield* Effect.sleep(Math.max(start + at - (yield* now), 0))
      const asked = yield* now
      let leased = 0
      yield* read((connection) =>
        Effect.gen(function*() {
          leased = yield* now
          yield* connection.query("select name from item where id = 2")
          yield* Effect.sleep(lease)
        })
      )
      return { at: asked - start, wait: leased - asked, lease: (yield* now) - leased } satisfies Seen
    }), { concurrency: "unbounded" })
})

const folder = mkdtempSync(join(tmpdir(), "simulation-"))
const program = Effect.gen(function*() {
  const seen = yield* Effect.provide(real, SqlitePool.layer({ filename: join(folder, "items.db"), readers }))
  const ordered = seen.toSorted((one, other) => one.at - other.at)
  const waits = ordered.map(({ wait }) => wait).toSorted((one, other) => one - other)
  const simulated = yield* PoolSimulation.run({
    pool: { min: readers, max: readers },
    arrivals: PoolSimulation.recorded(ordered.map(({ at }) => at)),
    service: ({ index }) => ordered[index]!.lease
  })
  const mean = waits.reduce((sum, wait) => sum + wait, 0) / waits.length
  const p99 = waits[Math.ceil(waits.length * 0.99) - 1]!
  const difference = Math.abs(simulated.waits.p99 / p99 - 1)
  console.log(`${waits.length} requests, ${readers} readers, load ${simulated.offeredLoad.toFixed(2)}`)
  console.log(`mean wait: SQLite ${mean.toFixed(1)} ms, simulation ${simulated.waits.mean.toFixed(1)} ms`)
  console.log(`p99 wait:  SQLite ${p99.toFixed(1)} ms, simulation ${simulated.waits.p99.toFixed(1)} ms`)
  console.log(`difference of p99: ${(difference * 100).toFixed(1)} %`)
  if (values.check && !(difference <= 0.3)) process.exitCode = 1
})

await Effect.runPromise(program).finally(() => rmSync(folder, { recursive: true, force: true }))
