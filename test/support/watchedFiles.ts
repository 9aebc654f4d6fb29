/** Databases whose files are moved, replaced or deleted while they are open. */
import { assert } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { type SqliteConnection, SqlitePool, type SqliteReader } from "effect-connection-pool/sqlite"
import { TestClock } from "effect/testing"
import { spawn } from "node:child_process"
import { dirname, join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { judge } from "./files.ts"
import { settle } from "./pools.ts"

export const setup = "create table t(a); insert into t values (1)"

export const make = Effect.fnUntraced(function*(filename: string, options?: Partial<SqlitePool.Options>) {
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, ...options })
  yield* pool.write((connection) => connection.exec(`create table if not exists t(a)`))
  return pool
})

export const insert = (connection: SqliteConnection.SqliteConnection) => connection.run("insert into t values (1)")

export const count = (reader: SqliteReader.SqliteReader) =>
  Effect.map(reader.values("select count(*) from t"), (rows) => rows[0]![0])

/** Time passes until the pool looks again, and for what tries again every millisecond. */
export const noticing = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    yield* TestClock.adjust("1 second")
    const fiber = yield* Effect.forkChild(effect)
    yield* settle
    yield* TestClock.adjust("100 millis")
    return yield* Fiber.join(fiber)
  })

/** Rows of a database that nobody has open, if it is whole. */
export const rowsIn = (path: string): unknown => {
  const database = new DatabaseSync(path)
  try {
    assert.strictEqual(database.prepare("pragma integrity_check").get()!["integrity_check"], "ok")
    return database.prepare("select count(*) as n from t").get()!["n"]
  } finally {
    database.close()
  }
}

/** Another database beside the first, closed, with that many rows. */
export const other = Effect.fnUntraced(function*(filename: string, rows: number, pageSize = 4096) {
  const path = join(dirname(filename), "other.db")
  const values = Array.from({ length: rows }, (_, at) => `(${at})`).join(", ")
  yield* Effect.scoped(
    judge(
      path,
      `pragma page_size = ${pageSize}; pragma journal_mode = wal; create table t(a); insert into t values ${values}`
    )
  )
  return path
})

/** Another process that has the file open, and does nothing. */
export const elsewhere = (filename: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const script = `const { DatabaseSync } = require("node:sqlite")
        const database = new DatabaseSync(${JSON.stringify(filename)})
        database.prepare("select count(*) from t").get()
        console.log("open")
        setInterval(() => {}, 1e6)`
      const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] })
      await new Promise((resolve) => child.stdout.once("data", resolve))
      return child
    }),
    (child) =>
      Effect.promise(() =>
        new Promise<void>((resolve) => {
          if (child.exitCode !== null || child.signalCode !== null) return resolve()
          child.once("exit", () => resolve())
          child.kill("SIGKILL")
        })
      )
  )
