import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { threads } from "./test/support/threads.ts"

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The package, as its tests import it. */
export const alias = [
  { find: /^effect-connection-pool$/, replacement: source("./src/index.ts") },
  { find: /^effect-connection-pool\/postgres$/, replacement: source("./src/postgres/index.ts") },
  { find: /^effect-connection-pool\/sqlite$/, replacement: source("./src/sqlite/index.ts") },
  { find: /^effect-connection-pool\/sqlite-node$/, replacement: source("./src/sqlite-node/index.ts") },
  { find: /^effect-connection-pool\/inspector$/, replacement: source("./src/inspector/index.ts") },
  { find: /^effect-connection-pool\/testing$/, replacement: source("./src/testing/index.ts") }
]

export default defineConfig({
  plugins: [threads],
  resolve: { alias },
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/support/postgresNotice.ts",
    // Against a test that hangs, not one on a machine that is busy.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    teardownTimeout: 60_000,
    // By default one core would be left idle, which on two cores is half of them.
    maxWorkers: "100%",
    reporters: ["default", ["json", { outputFile: `coverage/${process.env["TEST_REPORT"] ?? "tests"}.json` }]],
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      // Runs in a browser, where its own tests look at it.
      exclude: ["src/inspector/page/**"],
      reporter: ["text", "json-summary"],
      // A run takes long, and its coverage is of use also if a test has failed.
      reportOnFailure: true,
      // What only runs inside of a thread is not counted, and some failures of a network happen only there.
      thresholds: {
        lines: 98.5,
        branches: 96.5,
        "src/internal/**": { lines: 99.5, branches: 98.5 },
        // The side of the thread is tested over a channel, in the thread of the tests.
        "src/sqlite/internal/worker/**": { lines: 96, branches: 90 }
      }
    }
  }
})
