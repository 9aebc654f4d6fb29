/** SQLite pools whose logs and log messages a test looks at. */
import { Effect, Logger } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { statSync } from "node:fs"
import { file } from "./files.ts"

export const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, synchronous: "off", ...options })
  yield* pool.write((connection) => connection.exec("create table t(a, b)"))
  return { filename, pool, wal: () => statSync(`${filename}-wal`).size }
})

/** What is logged, as text. */
export const logged = Effect.sync(() => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ message }) => {
    const line = String(message)
    // The clock of the test warns of a test that takes longer than a second.
    if (!line.includes("TestClock.adjust")) lines.push(line)
  })
  return { lines, layer: Logger.layer([logger]) }
})
