/** Opens databases that this process may not, and prints what it is told. */
import { Effect } from "effect"
import { basename, join } from "node:path"
import { SqliteConnection } from "../../../src/sqlite/index.ts"

const [plain = ".", wal = ".", shut = ".", ...others] = process.argv.slice(2)

const told = (options: SqliteConnection.Options) =>
  Effect.scoped(Effect.match(SqliteConnection.open(options), {
    onFailure: (error) => error.message,
    onSuccess: () => "open"
  }))

/** What it is told of each other folder: to write, and to read. */
const ofOthers = Effect.forEach(others, (folder) => {
  const filename = join(folder, "test.db")
  return Effect.map(
    Effect.all([told({ filename }), told({ filename, readOnly: true })]),
    (messages) => [basename(folder), messages] as const
  )
})

const all = Effect.all({
  plain: told({ filename: join(plain, "test.db") }),
  plainDelete: told({ filename: join(plain, "test.db"), journalMode: "delete" }),
  plainRead: told({ filename: join(plain, "test.db"), readOnly: true }),
  wal: told({ filename: join(wal, "test.db") }),
  walRead: told({ filename: join(wal, "test.db"), readOnly: true }),
  shut: told({ filename: join(shut, "test.db") }),
  created: told({ filename: join(plain, "new.db") })
})

const answer = others.length === 0 ? all : Effect.map(ofOthers, Object.fromEntries)

process.stdout.write(JSON.stringify(await Effect.runPromise<unknown, never>(answer)))
