/** Opens databases that this process may not, and prints what it is told. */
import { Effect } from "effect"
import { join } from "node:path"
import { SqliteConnection } from "../../../src/sqlite/index.ts"

const [plain = ".", wal = ".", shut = "."] = process.argv.slice(2)

const told = (options: SqliteConnection.Options) =>
  Effect.scoped(Effect.match(SqliteConnection.open(options), {
    onFailure: (error) => error.message,
    onSuccess: () => "open"
  }))

const all = Effect.all({
  plain: told({ filename: join(plain, "test.db") }),
  plainDelete: told({ filename: join(plain, "test.db"), journalMode: "delete" }),
  plainRead: told({ filename: join(plain, "test.db"), readOnly: true }),
  wal: told({ filename: join(wal, "test.db") }),
  walRead: told({ filename: join(wal, "test.db"), readOnly: true }),
  shut: told({ filename: join(shut, "test.db") }),
  created: told({ filename: join(plain, "new.db") })
})

process.stdout.write(JSON.stringify(await Effect.runPromise(all)))
