import { statSync } from "node:fs"
import { defineConfig, mergeConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"
import base from "../../vitest.config.ts"
import { entries, sample } from "./record.ts"

const { sources } = sample()

/** `alone`: one mutant is planted from the beginning, and the tests run as always. */
const stage = process.env["MUTANTS_STAGE"] as "fast" | "alone" | "rest"

const done = entries().flatMap((entry) => entry.is === "done" ? [entry.file] : [])
const slow = ["test/**/*.integration.test.ts", "test/{sweep,model,stress,pairs}.test.ts"]

/** The tests of single parts come first: most mutants are noticed there, and need no further test. Simulations are slow. */
class PartsFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const orderOf = ({ moduleId }: TestSpecification) =>
      moduleId.includes("/test/internal/") ? 0 : moduleId.includes("imulation") ? Infinity : statSync(moduleId).size
    return files.toSorted((one, other) => Math.sign(orderOf(one) - orderOf(other)) || 0)
  }
}

export default mergeConfig(
  base,
  defineConfig({
    plugins: [{ name: "mutants", enforce: "pre", load: (id) => sources[id] }],
    test: {
      // It has modules by their files, and would give them the mutants of an earlier sample.
      fsModuleCache: false,
      maxWorkers: 1,
      isolate: stage === "rest",
      silent: true,
      sequence: { sequencer: PartsFirst },
      exclude: [
        // They look at pages, at no code.
        "test/docs.test.ts",
        "test/documentedFigures.test.ts",
        ...(stage === "rest" ? [] : slow),
        ...(stage === "alone" ? [] : done)
      ],
      // The runner has limits of its own, and a test whose time is up cannot be run again.
      ...(stage === "alone" ? { bail: 1 } : { runner: "./scripts/mutants/runner.ts", testTimeout: 0 })
    }
  })
)
