/** Opens pools over what this process may not write, and prints what it is told. */
import { Effect } from "effect"
import { join } from "node:path"
import { SqlitePool } from "../../../src/sqlite/index.ts"

const [folder = "."] = process.argv.slice(2)

const told = (filename: string) =>
  Effect.scoped(Effect.match(SqlitePool.make({ filename: join(folder, filename) }), {
    onFailure: (error) => error.message,
    onSuccess: () => "open"
  }))

const all = Effect.all([told("file/test.db"), told("folder/test.db"), told("folder/new.db")])

process.stdout.write(`${JSON.stringify(await Effect.runPromise(all))}\n`)
