/** PostgreSQL: reads by key, and transactions of one update, by 1 user and by 100, over 8 connections. */
import assert from "node:assert/strict"
import type { Client, PostgresContender } from "../contenders/postgres/client.ts"
import { connections, onServer, type Server } from "../contenders/postgres/server.ts"
import { sumOf } from "../contenders/sqlite/database.ts"
import { type Case, type Contestant, type Round, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { cpuClock, wallClock } from "../harness/watch.ts"
import type { Folders } from "../library.ts"
import { pointReads } from "../workloads/pointReads.ts"
import { transactions } from "../workloads/transactions.ts"

/** The names of cases that need a server. */
export const needsServer = /^postgres-/

export const postgresCases = (
  who: ReadonlyArray<PostgresContender>,
  effort: Effort,
  folders: Folders
): ReadonlyArray<Case> => {
  const contestant = (
    contender: PostgresContender,
    times: number,
    round: (client: Client, server: Server) => Promise<Round>
  ): Contestant => ({
    name: contender.name,
    expected: served(times),
    open: () =>
      onServer(folders, async (server) => {
        const client = await contender.open(server.where)
        return { round: () => round(client, server), close: client.close }
      })
  })
  const reads = (users: number, each: number): Case => ({
    name: `postgres-reads-${users}`,
    title: `${users} users over ${connections} connections, reads by key from PostgreSQL`,
    unit: "ns per read",
    reference: "@effect/sql-pg: sql",
    contestants: who.map((contender) => contestant(contender, users * each, (client) => readAll(client, users, each))),
    ...effort.rounds(8, 5)
  })
  const writes = (users: number, each: number): Case => ({
    name: `postgres-transactions-${users}`,
    title: `${users} users over ${connections} connections, transactions of one update in PostgreSQL`,
    unit: "ns per transaction",
    reference: "@effect/sql-pg: sql",
    contestants: who.filter(({ readsOnly }) => readsOnly !== true).map((contender) =>
      contestant(contender, users * each, (client, server) => transact(client, server, users, each))
    ),
    ...effort.rounds(8, 5)
  })
  const { isShort } = effort
  return [
    reads(1, isShort ? 10 : 2000),
    reads(100, isShort ? 1 : 80),
    writes(1, isShort ? 5 : 800),
    writes(100, isShort ? 1 : 32)
  ]
}

/** Time as users see it, and that of the processor which this process has used: the server has its own. */
const watched = async (work: () => Promise<void>, times: number): Promise<Round> => {
  const [wall, cpu] = [wallClock(), cpuClock()]
  wall.start()
  cpu.start()
  await work()
  cpu.stop()
  wall.stop()
  return { cost: { time: wall.nanos() / times, processor: cpu.nanos() / times }, counts: served(times) }
}

/** Fails if wrong rows were read. */
const readAll = (client: Client, users: number, each: number): Promise<Round> =>
  watched(async () => {
    assert.equal(await pointReads(client, users, each), sumOf(users * each), "something else was read")
  }, users * each)

/** Fails if a second connection does not see exactly what was added. */
const transact = async (client: Client, server: Server, users: number, each: number): Promise<Round> => {
  const before = await server.sum()
  const round = await watched(() => transactions(client, users, each), users * each)
  assert.equal(await server.sum() - before, users * each, "something else was stored")
  return round
}
