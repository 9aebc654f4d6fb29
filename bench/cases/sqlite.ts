/** SQLite: what a read by key costs, and how long it takes while somebody else has a transaction open. */
import assert from "node:assert/strict"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { quantile } from "simple-statistics"
import {
  type Client,
  fill,
  floor,
  original,
  originalClient,
  ourClient,
  ours,
  plain,
  type PointReader,
  sumOf
} from "../contenders/sqlite.ts"
import { type Case, type Contestant, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { wallClock } from "../harness/watch.ts"
import { type Folders, loadSqlite } from "../library.ts"
import { besideWriter } from "../workloads/besideWriter.ts"

export const sqliteCases = (effort: Effort, folders: Folders): ReadonlyArray<Case> => [
  pointReads(effort, folders),
  besideAWriter(effort, folders)
]

const pointReads = (effort: Effort, folders: Folders): Case => {
  const reads = effort.scale(5000)
  const reader = (name: string, open: (filename: string) => PointReader | Promise<PointReader>): Contestant => ({
    name,
    expected: served(reads),
    open: () =>
      onFile(async (filename) => {
        const opened = await open(filename)
        return {
          round: async () => {
            const watch = wallClock()
            watch.start()
            const sum = await opened.read(reads)
            watch.stop()
            assert.equal(sum, sumOf(reads), `${name} has read something else`)
            return { cost: watch.nanos() / reads, counts: served(reads) }
          },
          close: opened.close
        }
      })
  })
  const door = (door: "readSync" | "read" | "sql") =>
    reader(`ours: ${door}`, async (filename) => ours(await loadSqlite(folders), filename, door))
  return {
    name: "point-reads",
    title: "1 user, reads by key in a WAL file",
    unit: "ns per read",
    reference: "node:sqlite",
    ...effort.rounds(60, 20),
    contestants: [
      reader("node:sqlite", plain),
      door("readSync"),
      door("read"),
      door("sql"),
      reader("floor: sql", floor),
      reader("@effect/sql-sqlite-node: sql", original)
    ]
  }
}

const besideAWriter = (effort: Effort, folders: Folders): Case => {
  const transactions = effort.isShort ? 1 : 5
  const client = (
    name: string,
    load: string,
    share: number,
    open: (filename: string) => Promise<Client>
  ): Contestant => ({
    name,
    load,
    expected: served(transactions),
    open: () =>
      onFile(async (filename) => {
        const { close, sql } = await open(filename)
        return {
          round: async () => {
            const { reads, writes } = await besideWriter(sql, transactions)
            return { cost: quantile(reads, share), counts: served(writes) }
          },
          close
        }
      })
  })
  const both = (load: string, share: number) => [
    client("ours: sql", load, share, async (filename) => ourClient(await loadSqlite(folders), filename)),
    client("@effect/sql-sqlite-node: sql", load, share, originalClient)
  ]
  return {
    name: "beside-writer",
    title: "50 readers beside transactions of 50 ms",
    unit: "ns per read",
    reference: "@effect/sql-sqlite-node: sql",
    ...effort.rounds(10, 2),
    contestants: [...both("median", 0.5), ...both("p99", 0.99)]
  }
}

/** Opens something on a new file, which is deleted when it is closed. */
const onFile = async <A extends { readonly close: () => Promise<void> }>(
  open: (filename: string) => Promise<A>
): Promise<A> => {
  const folder = mkdtempSync(join(tmpdir(), "bench-sqlite-"))
  const filename = join(folder, "bench.db")
  fill(filename)
  const opened = await open(filename)
  return {
    ...opened,
    close: async () => {
      await opened.close()
      rmSync(folder, { recursive: true, force: true })
    }
  }
}
