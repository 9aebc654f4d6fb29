/** How wrong definitions of SQL functions are reported. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqliteConnection, SqliteFunction, SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"

const problemsOf = (options: object) =>
  Effect.map(
    Effect.flip(SqlitePool.make({ filename: ":memory:", ...options })),
    (error) => {
      assert.strictEqual(error._tag, "PoolConfigError")
      return error._tag === "PoolConfigError" ? error.problems.map(({ message }) => message) : []
    }
  )

const one = () => 1
const sum = { start: () => 0, step: (state: number, value: unknown) => state + Number(value), result: (n: number) => n }

const wrong: Record<string, readonly [options: object, messages: ReadonlyArray<string>]> = {
  "no record": [{ functions: [one], aggregates: 7 }, [
    "functions is an array, but must be a record of functions by their names",
    "aggregates is 7, but must be a record of aggregates by their names"
  ]],
  "a misspelt property": [{ functions: { f: { run: one, determinstic: true } } }, [
    "functions.f.determinstic is no option; did you mean deterministic?"
  ]],
  "a property of the wrong kind, in a list": [{ functions: { f: [one, { run: one, directOnly: 1 }] } }, [
    "functions.f[1].directOnly is 1, but must be true or false"
  ]],
  "no function": [{ functions: { f: "upper", g: {} } }, [
    "functions.f is \"upper\", but must be a function, or a record with its run, or a list of them",
    "functions.g.run is not given: it must be a function that returns its result at once (not async, no generator)"
  ]],
  "functions that cannot return": [{
    functions: {
      f: () => Promise.resolve(1),
      g: async () => Promise.resolve(1),
      *h() {
        yield 1
      }
    }
  }, [
    "functions.g.run is a function, but must be a function that returns its result at once (not async, no generator)",
    "functions.h.run is a function, but must be a function that returns its result at once (not async, no generator)"
  ]],
  "names that SQL cannot call": [
    { functions: { "my fn": one, "": one, "1st": one, order: one, Not: one, [Symbol("s")]: one, "a\0b": one } },
    [
      "functions.my fn: a name has letters, digits, _ and $, and begins with a letter or _",
      "functions.: a name has letters, digits, _ and $, and begins with a letter or _",
      "functions.1st: a name has letters, digits, _ and $, and begins with a letter or _",
      "functions.order: it is a word of SQL, which SQL cannot call",
      "functions.Not: it is a word of SQL, which SQL cannot call",
      "functions.a\0b: a name has letters, digits, _ and $, and begins with a letter or _",
      "functions.Symbol(s): a name has letters, digits, _ and $, and begins with a letter or _"
    ]
  ],
  // They are no syntax error with a bracket after them, but SQL calls no function: `not(1)` is 0.
  "words of SQL that may stand before a bracket": [
    { functions: { all: one, case: one, distinct: one, like: one, upper: one }, aggregates: { not: sum } },
    [
      "functions.all: it is a word of SQL, which SQL cannot call",
      "functions.case: it is a word of SQL, which SQL cannot call",
      "functions.distinct: it is a word of SQL, which SQL cannot call",
      "aggregates.not: it is a word of SQL, which SQL cannot call"
    ]
  ],
  "too many parameters": [
    {
      functions: { f: Object.defineProperty(() => 1, "length", { value: 1001 }) },
      aggregates: { a: { ...sum, step: Object.defineProperty(() => 1, "length", { value: 1002 }) } }
    },
    [
      "functions.f has 1001 parameters, but SQLite has at most 1000 arguments",
      "aggregates.a has 1001 parameters, but SQLite has at most 1000 arguments"
    ]
  ],
  "a name that is too long": [{ functions: { ["é".repeat(128)]: one } }, [
    `functions.${"é".repeat(128)}: a name has at most 255 bytes`
  ]],
  "names that are needed": [{ functions: { sqlite_x: one, Changes: one } }, [
    "functions.sqlite_x: names that begin with sqlite_ are SQLite's own",
    "functions.Changes: this library needs SQLite's own function of that name"
  ]],
  "a name twice": [{ functions: { f: [one, one], g: (a: unknown) => a, G: (a: unknown) => a } }, [
    "functions.f[1]: f with 0 arguments is there already, and SQLite has one for each number of arguments",
    "functions.G: g with 1 argument is there already, and SQLite has one for each number of arguments; case does not count in their names"
  ]],
  "a name twice, with other numbers of arguments": [
    {
      functions: {
        f: [(a: unknown, b: unknown) => [a, b], (b: unknown, a: unknown) => [a, b]],
        g: [{ run: one, varargs: true }, { run: one, varargs: true }]
      }
    },
    [
      "functions.f[1]: f with 2 arguments is there already, and SQLite has one for each number of arguments",
      "functions.g[1]: g with any number of arguments is there already, and SQLite has one for each number of arguments"
    ]
  ],
  "one name for a function and an aggregate": [
    { functions: { f: (a: unknown) => a }, aggregates: { F: sum } },
    ["aggregates is an object, but must be without F with 1 argument, which is one of functions"]
  ],
  "parts of an aggregate": [{ aggregates: { a: { ...sum, step: undefined, resolt: 1 }, b: one } }, [
    "aggregates.a.resolt is no option; did you mean result?",
    "aggregates.a.step is not given: it must be a function that returns its result at once (not async, no generator)",
    "aggregates.b is a function, but must be an aggregate, or a list of them"
  ]],
  "what cannot be read": [{
    functions: {
      get f() {
        throw new Error("no")
      }
    }
  }, ["functions cannot be read: no"]]
}

describe("the options functions and aggregates", () => {
  for (const [what, [options, messages]] of Object.entries(wrong)) {
    it.effect(`are refused with every problem: ${what}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* problemsOf(options), messages)
      }))
  }

  it.effect("are refused by a connection and by the drop-in too", () =>
    Effect.gen(function*() {
      const options = { filename: ":memory:", functions: { "my fn": one }, aggregates: { f: sum as never } }
      const error = yield* Effect.flip(SqliteConnection.open(options))
      assert.include(error.message, "functions.my fn: a name has letters")
      const clash = {
        filename: ":memory:",
        functions: { f: (a: unknown) => a as null },
        aggregates: { f: sum as never }
      }
      assert.include((yield* Effect.flip(SqliteConnection.open(clash))).message, "one of functions")
      assert.include((yield* Effect.flip(SqliteClient.make(clash))).message, "one of functions")
      assert.include(
        (yield* Effect.flip(SqlitePool.makeTemporary({ functions: clash.functions, aggregates: clash.aggregates })))
          .message,
        "one of functions"
      )
    }))

  it.effect("may have a function for each number of arguments, and names beyond ASCII", () =>
    Effect.gen(function*() {
      const { sql } = yield* SqlitePool.make({
        filename: ":memory:",
        functions: {
          f: [() => 0, (a) => a!, { varargs: true, run: (...all) => all.length }],
          größe: (text) => String(text).length
        },
        aggregates: { f: SqliteFunction.aggregate({ ...sum, step: (state, a, b) => state + Number(a) * Number(b) }) }
      })
      assert.deepStrictEqual(
        yield* sql`select f(), f('a'), f(1, 2, 3), größe('abc'), (select f(a, 2) from (select 4 as a))`.values,
        [[0, "a", 3, 3, 8]]
      )
    }))
})
