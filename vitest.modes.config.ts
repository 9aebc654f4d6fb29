/**
 * The tests of SQLite with threads: once with readers in threads, and once with the writer in a thread too.
 *
 *     npm run test:modes
 *     SQLITE_TESTS=all npm run test:modes
 *     npx vitest run --config vitest.modes.config.ts --project writer test/sqlite/commits.integration.test.ts
 *
 * `test/support/modes` says what that means, and lists the tests that are excepted.
 */
import { globSync, readFileSync } from "node:fs"
import { basename } from "node:path"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { threads } from "./test/support/threads.ts"
import { alias } from "./vitest.config.ts"

const support = (name: string) => fileURLToPath(new URL(`./test/support/modes/${name}.ts`, import.meta.url))

const isOpening = /\/src\/sqlite(-node)?\/Sqlite(Pool|Client)\.ts$/

/** Has a pool and the client of `sqlite-node` open their databases in the mode, and the clock of a test wait for threads. */
const inMode = {
  name: "sqlite-mode",
  enforce: "pre" as const,
  resolveId: (id: string, importer = "") => {
    if (id.endsWith("/internal/database.ts") && isOpening.test(importer)) return support("database")
    if (id === "effect/testing" && !importer.includes("/modes/")) return support("testing")
    return undefined
  }
}

/** The files that may open a database in a mode: by what they import. */
const opening =
  /\bSqlite(?:Pool|Client)\b|\/support\/(?:backups|batches|database|groups|logOfSqlite|sqlitePools|writers\/)/

// Those of `worker*` choose the threads by themselves, and so are the same in all modes.
const all = globSync("test/{sqlite,sqlite-node}/**/*.test.ts").filter((path) =>
  !basename(path).startsWith("worker") && opening.test(readFileSync(path, "utf8"))
)

/** The part that is run without `SQLITE_TESTS=all`, which takes about eight minutes for each mode. */
const part = [
  "batchFailures",
  "client",
  "commits",
  "isolation",
  "observe",
  "observeModel",
  "savepointTrees",
  "savepoints",
  "snapshots",
  "sqlitePoolShutdown",
  "sqlitePoolTransaction",
  "sqlitePoolWal",
  "transaction",
  "transactionStress",
  "values"
].map((name) => `test/sqlite/${name}.integration.test.ts`)

const include = process.env["SQLITE_TESTS"] === "all" ? all : part

const project = (mode: "readers" | "writer") => ({
  plugins: [threads, inMode],
  resolve: { alias },
  test: {
    name: mode,
    // Random programs are shorter: a thread answers each statement with a message.
    env: { SQLITE_MODE: mode, MODEL_RUNS: process.env["MODEL_RUNS"] ?? "3" },
    include,
    setupFiles: ["./test/support/modes/mode.ts"],
    // Those that are skipped end with an error that says so.
    silent: "passed-only" as const,
    testTimeout: 120_000,
    hookTimeout: 120_000
  }
})

export default defineConfig({
  test: {
    projects: [project("readers"), project("writer")],
    teardownTimeout: 60_000,
    maxWorkers: "100%",
    reporters: ["default", ["json", { outputFile: `coverage/${process.env["TEST_REPORT"] ?? "tests-modes"}.json` }]]
  }
})
