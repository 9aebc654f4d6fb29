import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import * as fc from "fast-check"
import * as SqlText from "../../src/sqlite/internal/sql/scanner.ts"
import { judge } from "../support/files.ts"

const space = fc.constantFrom(" ", "\n", "\t ", " /* ? :a ; */ ", " -- ?; :a '\n", " /*/ ? */ ", " \uFEFF ")
const decoration = fc.constantFrom(
  "'it''s ?; :a'",
  "1 as \"? \"\"; :a\"",
  "1 as [?; :a]",
  "1 as `? ``; :a`",
  "x'00' || 1",
  "1 - -1 / 2",
  "1.5e+3 as e",
  "case when 1 then 2 end"
)
const positional = fc.constantFrom("?", "?", "?1", "?4", "?12", "? + ?", "(?)", "?||?2", "coalesce(?,?7)")
const named = fc.constantFrom(":a", "@a", "$a", ":b", "$a::b", "$a(x,y)", ":é", "@a1", ":a||:b", "(:c)")

const sqlOf = (parts: fc.Arbitrary<string>) =>
  fc.array(fc.tuple(space, fc.oneof(parts, decoration), space), { minLength: 1, maxLength: 12 }).map((columns) =>
    `select${columns.map((column) => column.join("")).join(",")}`
  )

describe("the placeholders of a statement", () => {
  it.effect("are as many as SQLite finds", () =>
    Effect.gen(function*() {
      const database = yield* judge(":memory:")
      fc.assert(
        fc.property(sqlOf(fc.oneof(positional, named)), (sql) => {
          const variables = database.prepare(`explain ${sql}`).all().filter((row) => row["opcode"] === "Variable")
          const highest = Math.max(0, ...variables.map((row) => row["p1"] as number))
          assert.strictEqual(SqlText.read(sql).placeholders.length, highest, sql)
        }),
        { numRuns: 1000 }
      )
    }))

  it.effect("get the values that were given for their names", () =>
    Effect.gen(function*() {
      const connection = yield* SqliteConnection.open({ filename: ":memory:" })
      fc.assert(
        fc.property(fc.array(named, { minLength: 1, maxLength: 8 }), (expressions) => {
          const sql = `select ${expressions.join(", ")}`
          const names = SqlText.read(sql).placeholders as ReadonlyArray<string>
          const params = Object.fromEntries(names.map((name) => [name, `<${name}>`]))
          const values = expressions.map((expression) =>
            expression.replaceAll(/[()]$|^\(/g, "").split("||").map((name) =>
              `<${expression.startsWith("$a(") ? expression : name}>`
            ).join("")
          )
          assert.deepStrictEqual(connection.valuesUnsafe(sql, params), [values])
        }),
        { numRuns: 500 }
      )
    }))
})
