import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import vitest from "../vitest.config.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

describe("the package", () => {
  it("asks for Effect, and nothing else", () => {
    const { dependencies, peerDependencies, peerDependenciesMeta } = JSON.parse(
      readFileSync(join(root, "package.json"), "utf8")
    )
    assert.isUndefined(dependencies)
    const needed = Object.keys(peerDependencies).filter((name) => peerDependenciesMeta[name]?.optional !== true)
    assert.deepStrictEqual(needed, ["effect"])
  })

  it("is tested with at least 95 % of its lines and branches", () => {
    const coverage = vitest.test?.coverage?.thresholds as
      | { readonly branches: number; readonly lines: number }
      | undefined
    assert.isAtLeast(Math.min(coverage?.branches ?? 0, coverage?.lines ?? 0), 95)
  })
})
