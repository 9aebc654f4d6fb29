/** Databases by key, more of them than may be open. */
import { Effect, Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import type { Library, Sqlite } from "../../library.ts"

export interface DatabasesByKey {
  readonly name: string
  /** Opens for files that exist. At most `max` of them are open. */
  readonly open: (folder: string, max: number) => Promise<{
    /** Reads one number from the database of a key. */
    readonly read: (key: string) => Effect.Effect<number, unknown>
    readonly close: () => Promise<void>
  }>
}

export const databasesByKey = ({ PoolMap }: Library, { SqlitePool }: Sqlite): ReadonlyArray<DatabasesByKey> => [
  {
    name: "ours: PoolMap",
    open: async (folder, max) => {
      const scope = Effect.runSync(Scope.make())
      const map = await Effect.runPromise(Scope.provide(
        PoolMap.make({
          max,
          open: (key: string) => SqlitePool.make({ filename: join(folder, `${key}.db`), name: "customer", readers: 1 })
        }),
        scope
      ))
      return {
        read: (key) =>
          map.use(key, (db) => db.readSync((reader) => Number(reader.valuesUnsafe("select n from t")[0]![0]))),
        close: () => Effect.runPromise(Scope.close(scope, Effect.runSync(Effect.exit(Effect.void))))
      }
    }
  },
  {
    // The least that does it: opened for each request, and closed after it.
    name: "node:sqlite, opened each time",
    open: async (folder) => ({
      read: (key) =>
        Effect.sync(() => {
          const database = new DatabaseSync(join(folder, `${key}.db`))
          const { n } = database.prepare("select n from t").get() as { readonly n: number }
          database.close()
          return n
        }),
      close: async () => {}
    })
  }
]

/** Makes a file for each key, each with its number. */
export const folderOf = (keys: ReadonlyArray<string>): { readonly folder: string; readonly remove: () => void } => {
  const folder = mkdtempSync(join(tmpdir(), "bench-by-key-"))
  for (const [index, key] of keys.entries()) {
    const database = new DatabaseSync(join(folder, `${key}.db`))
    database.exec(
      `pragma journal_mode = wal; pragma synchronous = off; create table t(n); insert into t values (${index})`
    )
    database.close()
  }
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}
