/** `support/database.ts` in a mode: the pools and the client are those of a database. */
import { Effect, Result } from "effect"
import { resolve } from "../../../src/sqlite/internal/options/pool.ts"
import { type Database, type Options, setup } from "../database.ts"
import { file, judge } from "../files.ts"
import { makeWith } from "./database.ts"
import { excepted } from "./mode.ts"

export const make = (options: Options | undefined) =>
  Effect.gen(function*() {
    if (options?.journalMode !== undefined) excepted("another journal mode than WAL")
    const { isGrouped = false, ...client } = options?.client ?? {}
    const filename = yield* file
    const settings = Result.getOrThrow(
      resolve({ filename, name: "db", drainTimeout: 0, readers: options?.readers ?? 2, groupCommit: isGrouped })
    )
    const connection = { ...settings.connection, busyTimeout: options?.busyTimeout ?? 5000 }
    const { pool, pools } = yield* makeWith({ ...settings, connection, client })
    const { writer } = pools
    yield* pool.write((connection) => connection.exec(options?.setup ?? setup))
    const other = yield* judge(filename)
    const made: Omit<Database, "rows"> = {
      filename,
      writer,
      reader: pool.readers as unknown as Database["reader"],
      ...pools.client,
      ...pools.client.transactor,
      other
    }
    return {
      ...made,
      get rows(): ReadonlyArray<unknown> {
        return other.prepare("select n from t order by n").all().map((row) => row["n"])
      }
    } as Database
  })
