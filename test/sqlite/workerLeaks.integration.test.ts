/**
 * Many statements that fail, are interrupted, or end their thread: what is left of them. `WORKER_LEAKS` is how many, by
 * default a few hundred.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import type { ConnectionStats } from "effect-connection-pool"
import { SqlitePool, SqliteWorkerPool } from "effect-connection-pool/sqlite"
import { readdirSync } from "node:fs"
import { file } from "../support/files.ts"
import { collect } from "../support/garbage.ts"
import { functionsModule } from "../support/held.ts"
import { counting } from "../support/workerPools.ts"

const runs = Number(process.env["WORKER_LEAKS"] ?? 400)

/** Every so many statements, one ends its thread. */
const crashEvery = 100

/** The memory of JavaScript that is in use, in bytes. */
const used = Effect.gen(function*() {
  for (let round = 0; round < 3; round++) {
    collect()
    yield* Effect.sleep(5)
  }
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return heapUsed + arrayBuffers
})

/** The threads of this process. */
const threads = (): number => readdirSync("/proc/self/task").length

const until = (what: Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.flatMap(what, (isTrue) => isTrue ? Effect.void : Effect.andThen(Effect.sleep(5), until(what)))

/** Checks what is left after many statements, one of which ends its thread every so often. */
const check = Effect.fnUntraced(function*(
  stats: Effect.Effect<ConnectionStats.ConnectionStats>,
  one: (at: number) => Effect.Effect<unknown, unknown>,
  /** With a lease: a statement that was only sent ahead is sent again when its thread has ended. */
  crash: (at: number) => Effect.Effect<unknown, unknown>
) {
  const isQuiet = Effect.map(
    stats,
    ({ abandoned, connecting, inUse, waiting }) => abandoned + connecting + inUse + waiting === 0
  )
  let crashes = 0
  const some = (from: number, to: number) =>
    Effect.andThen(
      Effect.forEach(
        Array.from({ length: to - from }, (_, at) => from + at),
        (at) => {
          if (at % crashEvery !== crashEvery / 2) return Effect.exit(one(at))
          crashes++
          return Effect.flip(crash(at))
        },
        { concurrency: 8, discard: true }
      ),
      until(isQuiet)
    )
  yield* some(0, runs / 5)
  const before = { memory: yield* used, connections: (yield* stats).total, threads: threads() }
  yield* some(runs / 5, runs)
  const its = yield* stats
  const growth = (yield* used) - before.memory
  // The code that V8 has compiled meanwhile is a megabyte or two.
  assert.isBelow(growth, 3 * 1024 * 1024 + 100 * runs)
  // A thread that has ended goes a moment later.
  yield* until(Effect.sync(() => threads() - before.threads <= its.total - before.connections))
  assert.strictEqual(its.evictions.dead, crashes)
  assert.strictEqual(its.returns, its.checkouts)
  assert.strictEqual(its.connects - its.disconnects, its.total)
  assert.strictEqual(its.settlements, its.abandonments)
  assert.deepStrictEqual([its.leaks, its.closeTimeouts, its.resetFailures, its.connectFailures], [0, 0, 0, 0])
  return its
})

describe("many statements that fail, are interrupted, or end their thread", () => {
  it.live("leave nothing behind on readers in threads, and exact numbers", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.make({ filename: yield* file, workers: 2, functionsModule })
      const { onWorker } = SqlitePool
      const { sql } = pool
      const worker = { execution: "worker" } as const
      const one = (at: number): Effect.Effect<unknown, unknown> => {
        switch (at % 6) {
          case 0:
            return onWorker(sql`select * from nowhere`)
          case 1:
            return pool.read((reader) => reader.query("select ?", [undefined as never]), worker)
          case 2:
            return Effect.timeout(onWorker(sql.unsafe(counting(1000 + at % 5000))), at % 3)
          case 3:
            return Effect.timeout(pool.read((reader) => reader.query(counting(1000 + at % 5000)), worker), at % 4)
          case 4:
            return Effect.timeout(
              Stream.runDrain(
                Stream.take(pool.stream(`select ${at}, value from json_each(?)`, [json], worker), at % 900)
              ),
              at % 5
            )
          default:
            return onWorker(sql`select ${at}`)
        }
      }
      yield* check(Effect.map(pool.stats, ({ workers }) => workers!), one, (at) =>
        at % 200 < 100 ?
          pool.snapshot(sql`select crash()`, worker) :
          pool.read((it) => it.query("select crash()"), worker))
    }), 600_000)

  it.live(
    "leave nothing behind on a writer in a thread, which stores what it says, and exact numbers",
    () =>
      Effect.gen(function*() {
        const pool = yield* SqliteWorkerPool.make({ filename: yield* file, synchronous: "off", functionsModule })
        const { sql } = pool
        yield* sql`create table t(a integer primary key)`
        yield* sql`insert into t values (-1)`
        const stored = new Set([-1])
        // Some are not interrupted, however slow the machine is.
        const storing = (at: number, effect: Effect.Effect<unknown, unknown>) =>
          Effect.timeout(Effect.tap(effect, Effect.sync(() => stored.add(at))), at % 4 === 3 ? Infinity : at % 4)
        const one = (at: number): Effect.Effect<unknown, unknown> => {
          switch (at % 7) {
            case 0:
              return sql`insert into t values (-1)`
            case 1:
              return pool.write((connection) => connection.run("insert into nowhere values (1)"))
            case 2:
              return storing(at, sql`insert into t values (${at})`)
            case 3:
              return storing(at, pool.transaction(sql`insert into t values (${at})`))
            case 4:
              return storing(at, pool.write((connection) => connection.run("insert into t values (?)", [at])))
            case 5:
              return Effect.timeout(sql.unsafe(`delete from t where a = -9 - (${counting(5000)})`), at % 3)
            default:
              return Stream.runDrain(pool.batch("insert into t values (?)", [[-2 - at], [-1]]))
          }
        }
        yield* check(Effect.map(pool.stats, ({ writer }) => writer), one, (at) =>
          at % 200 < 100
            ? pool.write((connection) => connection.run("insert into t select crash()"))
            : pool.transaction(Effect.andThen(sql`insert into t values (-3)`, sql`insert into t select crash()`)))
        const found = (yield* sql`select a from t`.values).map(([a]) => a as number)
        assert.deepStrictEqual(found.toSorted((a, b) => a - b), [...stored].toSorted((a, b) => a - b))
        assert.isAbove(found.length, 1)
      }),
    600_000
  )
})

const json = JSON.stringify(Array.from({ length: 1000 }, (_, at) => at))
