/** This library's SQLite where reads may run in threads, and the least that reads in threads. */
import { Effect, Latch, References, Stream } from "effect"
import type { SqlitePool } from "effect-connection-pool/sqlite"
import type { Sqlite } from "../../library.ts"
import { scoped } from "../scoped.ts"
import type { EffectReader, SqliteContender } from "./client.ts"
import { type Item, items, scan, scanOf, select } from "./database.ts"
import { floorThreads } from "./floorThreads.ts"

type Options = Omit<SqlitePool.Options, "filename">
type Pool = SqlitePool.SqlitePool

/** Reads by key, and scans. */
export interface Scanner extends EffectReader {
  /** What a scan has counted. */
  readonly scan: Effect.Effect<number, unknown>
}

/** Reads all items at once. */
export interface Fetcher {
  readonly fetch: Effect.Effect<ReadonlyArray<unknown>, unknown>
  readonly close: () => Promise<void>
}

/** Reads by key beside queries whose callers have gone. */
export interface StuckReader extends EffectReader {
  /** A query that takes seconds, on a worker. */
  readonly query: Effect.Effect<unknown, unknown>
  /** How many connections run one of those for nobody. */
  readonly abandoned: Effect.Effect<number>
}

/** A thread that is started, and replaced. */
export interface Replaced extends EffectReader {
  /** Ends the thread in the middle of a statement. */
  readonly crash: Effect.Effect<unknown, unknown>
}

/** Open connections that do nothing. */
export interface IdleConnections {
  readonly name: string
  /** Opens so many. Returns the bytes of the heap in each thread, if the connections have threads. */
  readonly open: (filename: string, connections: number) => Promise<ReadonlyArray<number>>
}

export interface WorkerContenders {
  /** Whoever reads by key and scans, each of which may be on workers. */
  readonly scanners: ReadonlyArray<SqliteContender<Scanner>>
  /** Whoever only scans. */
  readonly heavy: ReadonlyArray<SqliteContender<Scanner>>
  readonly readers: ReadonlyArray<SqliteContender<EffectReader>>
  readonly fetchers: ReadonlyArray<SqliteContender<Fetcher>>
  readonly stuck: ReadonlyArray<SqliteContender<StuckReader>>
  readonly replaced: ReadonlyArray<SqliteContender<Replaced>>
  readonly idle: ReadonlyArray<IdleConnections>
}

/** SQL functions that threads load. */
const functionsModule = new URL("workerFunctions.js", import.meta.url)

const inProcess: Options = { execution: "in-process" }
const onWorkers: Options = { execution: "worker", workers: 2 }

export const workerContenders = ({ SqlitePool: { make, onWorker } }: Sqlite): WorkerContenders => {
  const opened = <A>(options: Options, doors: (pool: Pool) => A) => async (filename: string) => {
    // A thread that has crashed is logged, where the results are printed.
    const { close, value: pool } = await scoped(
      Effect.provideService(make({ filename, ...options }), References.MinimumLogLevel, "None")
    )
    return { style: "effect" as const, ...doors(pool), close }
  }
  const scanning = (options: Options, isOnWorker = false) =>
    opened(options, (pool) => {
      const counted = Effect.map(pool.sql.unsafe<Counted>(scan), ([row]) => row!.n)
      return { ...throughSql(pool), scan: isOnWorker ? onWorker(counted) : counted }
    })
  const stuck = (workers: number): SqliteContender<StuckReader> => ({
    name: `ours: ${workers === 1 ? "1 worker" : `${workers} workers`}`,
    open: opened({ workers }, (pool) => ({
      ...throughSql(pool),
      query: onWorker(pool.sql.unsafe(scanOf(8000))),
      abandoned: Effect.map(pool.stats, ({ workers }) => workers!.abandoned)
    }))
  })
  const idle = (options: Options, look: string) => async (filename: string, connections: number) => {
    const { value: pool } = await scoped(make({ filename, acquireTimeout: "2 minutes", ...options }))
    return Effect.runPromise(heldAtOnce(pool, connections, look))
  }
  return {
    scanners: [
      { name: "ours: all in process", open: scanning(inProcess) },
      { name: "ours: scans on workers", open: scanning({ workers: 2 }, true) },
      { name: "ours: all on workers", open: scanning(onWorkers) },
      { name: "ours: auto", open: scanning({ execution: "auto", workers: 2 }) }
    ],
    heavy: [
      { name: "ours: in process", open: scanning(inProcess) },
      { name: "ours: 2 workers", open: scanning(onWorkers) },
      { name: "floor: in process", open: floorThreads(0) },
      { name: "floor: 2 threads", open: floorThreads(2) }
    ],
    readers: [
      { name: "ours: sql, in process", open: opened(inProcess, throughSql) },
      { name: "ours: sql, on workers", open: opened(onWorkers, throughSql) },
      { name: "ours: read, in process", open: opened(inProcess, throughRead) },
      { name: "ours: read, on workers", open: opened(onWorkers, throughRead) },
      { name: "floor: in process", open: floorThreads(0) },
      { name: "floor: 1 thread", open: floorThreads(1) }
    ],
    fetchers: [
      { name: "ours: sql, in process", open: opened(inProcess, atOnce) },
      { name: "ours: sql, on a worker", open: opened(onWorkers, atOnce) },
      { name: "ours: stream, in process", open: opened(inProcess, inChunks) },
      { name: "ours: stream, on a worker", open: opened(onWorkers, inChunks) }
    ],
    stuck: [stuck(1), stuck(2)],
    replaced: [{
      name: "ours: worker",
      open: opened({ ...onWorkers, workers: 1, functionsModule }, (pool) => ({
        ...throughSql(pool),
        crash: Effect.flip(pool.sql`select crash()`)
      }))
    }],
    idle: [
      { name: "ours: worker", open: idle({ ...onWorkers, workers: 10, functionsModule }, "select heap_used()") },
      { name: "ours: reader in process", open: idle({ ...inProcess, readers: 10 }, "select 0") }
    ]
  }
}

interface Counted {
  readonly n: number
}

const throughSql = ({ sql }: Pool): Pick<EffectReader, "read"> => ({
  read: (key) => Effect.map(sql<Item>`select id, name, n from item where id = ${key}`, ([item]) => item!)
})

const throughRead = (pool: Pool): Pick<EffectReader, "read"> => ({
  read: (key) => Effect.map(pool.read((reader) => reader.query(select, [key])), ([item]) => item as unknown as Item)
})

const atOnce = ({ sql }: Pool): Pick<Fetcher, "fetch"> => ({ fetch: sql.unsafe(items) })

const inChunks = (pool: Pool): Pick<Fetcher, "fetch"> => ({ fetch: Stream.runCollect(pool.stream(items)) })

/** Has so many connections in use at the same time, so that all of them are open. Returns what each answers. */
const heldAtOnce = (pool: Pool, connections: number, sql: string) =>
  Effect.gen(function*() {
    const all = yield* Latch.make()
    let held = 0
    const hold = pool.read((reader) =>
      Effect.gen(function*() {
        yield* reader.values(select, [1])
        if (++held === connections) yield* all.open
        yield* all.await
        return Number((yield* reader.values(sql))[0]![0])
      })
    )
    return yield* Effect.all(Array.from({ length: connections }, () => hold), { concurrency: "unbounded" })
  })
