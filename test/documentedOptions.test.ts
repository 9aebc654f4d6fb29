import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { ConnectionPool } from "effect-connection-pool"
import { readFileSync } from "node:fs"
import type { Rule } from "../src/internal/options/rules.ts"
import { sqlitePoolTable } from "../src/sqlite/internal/options/pool.ts"

const page = readFileSync(new URL("../docs/options.md", import.meta.url), "utf8")

describe("the page of the options", () => {
  it.effect("begins with what a pool really says", () =>
    Effect.gen(function*() {
      const given = { name: "orders", max: 0, acquireTimout: 5, factory: { connect: Effect.void } }
      const said = yield* Effect.as(ConnectionPool.make(given), "nothing").pipe(
        Effect.catchTag("PoolConfigError", (error) => Effect.succeed(error.message))
      )
      assert.strictEqual(/```text\n([\s\S]+?)\n```/.exec(page)?.[1], said)
    }))

  it("lists every option of a SQLite pool, and what it is without it", () => {
    const [, section] = /## SQLite\n([\s\S]+?)\n## /.exec(page) ?? assert.fail("no section")
    const rows = section!.matchAll(/^\| `(\w+)` +\| ([^|]+?) +\|/gm)
    const defaults = new Map(Array.from(rows, ([, name, value]) => [name!, value!]))
    let compared = 0
    for (const [name, rule] of Object.entries<Rule>(sqlitePoolTable.rules)) {
      assert.match(section!, new RegExp(`^\\| [^|]*\`${name}\``, "m"), name)
      if (!defaults.has(name) || !("default" in rule) || !/^(?:choice|count|flag)$/.test(rule.kind)) continue
      assert.strictEqual(defaults.get(name)!.replaceAll(/[`"]/g, ""), String(rule.default), name)
      compared++
    }
    assert.isAbove(compared, 10)
  })
})
