import { defineConfig, mergeConfig } from "vitest/config"
import base from "../../vitest.config.ts"

export default mergeConfig(
  base,
  defineConfig({
    test: {
      exclude: [
        // Only tests with files show what groups do.
        "test/**/!(groupCommit)*.integration.test.ts",
        "test/**/groupCommit{Model,Processes,Sweep}.integration.test.ts",
        "test/docs.test.ts",
        "test/documentedFigures.test.ts",
        "test/sweep.test.ts",
        "test/stress.test.ts",
        "test/model.test.ts",
        "test/pairs.test.ts"
      ]
    }
  })
)
