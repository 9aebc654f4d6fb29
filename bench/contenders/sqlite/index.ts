/** Who takes part in what is measured with SQLite. */
import { type Folders, loadSqlite } from "../../library.ts"
import * as BetterSqlite3 from "./betterSqlite3.ts"
import { ceilingFibers, ceilingPromises } from "./ceiling.ts"
import type { Client, EffectReader, Reader, Service, SqliteContender, TracedClient } from "./client.ts"
import type { Synchronous } from "./database.ts"
import { poolUse } from "./effectPool.ts"
import { floorReaders } from "./floorReaders.ts"
import { floorSql } from "./floorSql.ts"
import { floorTransaction } from "./floorTransaction.ts"
import { type Importer, importers } from "./importers.ts"
import * as NodeSqlite from "./nodeSqlite.ts"
import { ours } from "./ours.ts"
import { services, type Witnessed, witnessed } from "./services.ts"
import * as Original from "./sqlSqliteNode.ts"
import { statementsInTurn } from "./statements.ts"
import { ofNode } from "./witness.ts"
import { type WorkerContenders, workerContenders } from "./workers.ts"

export interface SqliteContenders {
  /** Whoever reads. */
  readonly readers: ReadonlyArray<SqliteContender<Reader>>
  /** Whoever reads while somebody writes. */
  readonly clients: ReadonlyArray<SqliteContender<Client>>
  /** The load of those alone. */
  readonly ceilings: ReadonlyArray<SqliteContender<Client>>
  /** Whoever has two who write. */
  readonly writers: ReadonlyArray<SqliteContender<Client>>
  /** Whoever reads with so many statements in turn. */
  readonly ofStatements: ReadonlyArray<(count: number) => SqliteContender<Reader>>
  /** Whoever reads and adds rows, with the same promise about a loss of power. */
  readonly services: (synchronous: Synchronous) => ReadonlyArray<SqliteContender<Witnessed<Service>>>
  /** Whoever makes spans. */
  readonly traced: ReadonlyArray<SqliteContender<Witnessed<TracedClient>>>
  /** The least that makes a span for a read. */
  readonly tracedFloor: SqliteContender<EffectReader>
  /** The least that makes spans for a transaction and its statements. */
  readonly transactionFloor: SqliteContender<Witnessed<TracedClient>>
  /** Whoever imports rows, with the same promise about a loss of power. */
  readonly importers: (synchronous: Synchronous) => ReadonlyArray<SqliteContender<Importer>>
  /** Whoever is told apart by how it is opened. */
  readonly starters: ReadonlyArray<SqliteContender<Reader>>
  /** Whoever reads in threads, or in process beside them. */
  readonly workers: WorkerContenders
  /** Why the clients on better-sqlite3 are not among them, if they are not. */
  readonly whyMissing: string | undefined
}

export const sqliteContenders = async (folders: Folders): Promise<SqliteContenders> => {
  const { before, library } = await loadSqlite(folders)
  const builds = [
    ["ours:", ours(library)] as const,
    ...(before === undefined ? [] : [["before:", ours(before)] as const])
  ]
  const whyMissing = await BetterSqlite3.whyMissing()
  const peers = whyMissing === undefined ? onBetterSqlite3 : { readers: [], clients: [], writers: [], starters: [] }
  const sql = builds.map(([prefix, { sql }]) => ({ name: `${prefix} sql`, open: sql }))
  const original = { name: "@effect/sql-sqlite-node: sql", open: Original.sqlSqliteNode }
  const floor = { name: "floor: 1 writer, 3 readers", open: floorReaders }
  return {
    readers: [
      { name: "node:sqlite", open: NodeSqlite.prepared },
      { name: "node:sqlite, not prepared", open: (filename) => NodeSqlite.preparing(filename) },
      ...builds.flatMap(([prefix, { read, readSync }]) => [
        { name: `${prefix} readSync`, open: readSync },
        { name: `${prefix} read`, open: read }
      ]),
      ...sql,
      { name: "floor: sql", open: floorSql },
      { name: "Pool.use", open: poolUse },
      original,
      ...peers.readers
    ],
    clients: [
      ...builds.map(([prefix, { read }]) => ({ name: `${prefix} read`, open: read })),
      ...sql,
      original,
      ...peers.clients,
      floor
    ],
    ceilings: [
      { name: "ceiling: fibers", open: ceilingFibers },
      { name: "ceiling: promises", open: ceilingPromises }
    ],
    writers: [...sql, original, ...peers.writers, floor],
    ofStatements: [
      ...builds.map(([prefix, { readOf }]) => (count: number) => ({
        name: `${prefix} read`,
        open: readOf(statementsInTurn(count), {})
      })),
      (count) => ({
        name: "ours: read, statementCacheSize 1000",
        open: ours(library).readOf(statementsInTurn(count), { statementCacheSize: 1000 })
      }),
      (count) => ({
        name: "node:sqlite, not prepared",
        open: (filename) => NodeSqlite.preparing(filename, statementsInTurn(count))
      })
    ],
    services: services(builds, whyMissing === undefined),
    traced: [
      ...builds.map(([prefix, { traced }]) => witnessed(`${prefix} sql`, "normal", traced, ofNode)),
      witnessed(original.name, "normal", original.open, ofNode)
    ],
    tracedFloor: { name: "floor: sql", open: floorSql },
    transactionFloor: witnessed("floor: transaction", "normal", floorTransaction, ofNode),
    importers: (synchronous) => importers(library, synchronous),
    starters: [
      { name: "node:sqlite", open: NodeSqlite.prepared },
      ...builds.flatMap(([prefix, { layer, sql }]) => [
        { name: `${prefix} make`, open: sql },
        { name: `${prefix} layer`, open: layer }
      ]),
      { name: "@effect/sql-sqlite-node: make", open: Original.sqlSqliteNode },
      { name: "@effect/sql-sqlite-node: layer", open: Original.inLayer },
      ...peers.starters
    ],
    workers: workerContenders(library),
    whyMissing
  }
}

/** A contender whose library is loaded when it is needed. */
const peer = <A>(name: string, load: () => Promise<(filename: string) => Promise<A>>): SqliteContender<A> => ({
  name,
  open: async (filename) => (await load())(filename)
})

const knex = () => import("./knex.ts")
const knexBuilder = peer("knex: builder", async () => (await knex()).builder(1))
const knexBuilder4 = peer("knex: builder, pool 1..4", async () => (await knex()).builder(4))

const onBetterSqlite3 = {
  readers: [
    { name: "better-sqlite3", open: BetterSqlite3.prepared },
    peer("kysely", async () => (await import("./kysely.ts")).kysely),
    peer("drizzle: prepared", async () => (await import("./drizzle.ts")).prepared),
    peer("drizzle: builder", async () => (await import("./drizzle.ts")).builder),
    peer("knex: raw", async () => (await knex()).raw(1)),
    knexBuilder,
    knexBuilder4
  ],
  clients: [knexBuilder, knexBuilder4],
  writers: [knexBuilder, knexBuilder4],
  starters: [
    { name: "better-sqlite3", open: BetterSqlite3.prepared },
    peer("kysely", async () => (await import("./kysely.ts")).kysely),
    peer("drizzle: prepared", async () => (await import("./drizzle.ts")).prepared),
    knexBuilder
  ]
}
