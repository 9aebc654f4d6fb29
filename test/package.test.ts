import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
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

  it("uses the driver of PostgreSQL through its public modules only", () => {
    const sources = globSync("src/**/*.ts", { cwd: root }).map((file) => readFileSync(join(root, file), "utf8"))
    const used = new Set(
      sources.flatMap((source) => Array.from(source.matchAll(/"(@effect\/sql-pg[^"]*)"/g), ([, name]) => name))
    )
    assert.include(Array.from(used), "@effect/sql-pg/PgConnection")
    // Its other modules are in folders, or begin with a small letter.
    for (const name of used) assert.match(name!, /^@effect\/sql-pg(?:\/Pg[A-Za-z]+)?$/)
    // What it keeps to itself is under keys that it does not export.
    for (const source of sources) assert.notInclude(source, "~@effect/sql-pg")
  })

  it("is tested with at least 95 % of its lines and branches", () => {
    const coverage = vitest.test?.coverage?.thresholds as
      | { readonly branches: number; readonly lines: number }
      | undefined
    assert.isAtLeast(Math.min(coverage?.branches ?? 0, coverage?.lines ?? 0), 95)
  })
})
