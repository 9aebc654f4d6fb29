/** Opens databases that this process may only read, in folders that it may not write to, and prints what it is told. */
import { Effect } from "effect"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { SqlitePool } from "../../../src/sqlite/index.ts"

const [plain = ".", wal = "."] = process.argv.slice(2)

const told = (folder: string, options: Omit<SqlitePool.Options, "filename">) =>
  Effect.scoped(Effect.gen(function*() {
    const pool = yield* SqlitePool.make({ filename: join(folder, "test.db"), ...options })
    return yield* pool.sql`select a from t`
  })).pipe(Effect.catch((error) => Effect.succeed(error.message)))

const all = Effect.gen(function*() {
  const answers = {
    plain: yield* told(plain, { readOnly: true }),
    plainImmutable: yield* told(plain, { immutable: true }),
    wal: yield* told(wal, { readOnly: true }),
    walImmutable: yield* told(wal, { immutable: true })
  }
  return { ...answers, files: [plain, wal].map((folder) => readdirSync(folder)) }
})

process.stdout.write(JSON.stringify(await Effect.runPromise(all)))
