import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import { check, mustBe, type Rule, table, valueOf } from "../../src/internal/options/rules.ts"

/** What a rule makes of values, and what it says that they must be. */
const cases: ReadonlyArray<
  readonly [rule: Rule, text: string, accepted: ReadonlyArray<unknown>, refused: ReadonlyArray<unknown>]
> = [
  [{ kind: "text" }, "text that is not empty", ["a", " a "], ["", " \t", 5, null]],
  [
    { kind: "text", accepts: (text) => text.startsWith("a"), mustBe: "an a" },
    "an a",
    ["a", "ab"],
    ["b", "", ["a"]]
  ],
  [{ kind: "choice", of: ["one"] }, "\"one\"", ["one"], ["two", undefined, 1]],
  [{ kind: "choice", of: ["one", 2] }, "\"one\" or 2", ["one", 2], ["2", 1]],
  [{ kind: "choice", of: ["a", "b", "c"] }, "\"a\", \"b\" or \"c\"", ["c"], ["d"]],
  [{ kind: "flag" }, "true or false", [true, false], [0, "true", null]],
  [{ kind: "fraction", default: 0 }, "a number from 0 to below 1", [0, 0.5], [1, -0.1, NaN, "0", Infinity]],
  [{ kind: "count", floor: 2 }, "a whole number of at least 2, or Infinity", [2, 7, Infinity], [
    1,
    2.5,
    "2",
    -Infinity
  ]],
  [{ kind: "count", floor: 0, finite: true }, "a whole number of at least 0", [0, 2 ** 53 - 1], [
    Infinity,
    -1,
    2 ** 53
  ]],
  [{ kind: "count", floor: 1, ceiling: 9 }, "a whole number from 1 to 9", [1, 9], [0, 10, Infinity]],
  [{ kind: "bytes", floor: 1, default: 5 }, "a whole number of at least 1, or Infinity", [1, Infinity], [0, 1.5]],
  [{ kind: "duration", finite: true }, "a duration above zero, such as \"5 seconds\"", [1, 0.001], [
    0,
    -1,
    Infinity,
    "x"
  ]],
  [
    { kind: "duration", zero: true },
    "a duration of zero or more, such as \"5 seconds\", or Infinity",
    [0, 5, Infinity],
    [-1, NaN, null]
  ],
  [{ kind: "duration", zero: true, finite: true }, "a duration of zero or more, such as \"5 seconds\"", [0], [
    Infinity
  ]],
  [{ kind: "duration" }, "a duration above zero, such as \"5 seconds\", or Infinity", [Infinity, 3], [0, {}]],
  [
    {
      kind: "value",
      mustBe: "odd",
      accepts: (value) => {
        if (value === 0) throw new Error("zero")
        return (value as number) % 2 === 1
      }
    },
    "odd",
    [1, 3],
    [2, 0]
  ]
]

describe("a rule of options", () => {
  it("accepts the values of its kind, and says what a value must be", () => {
    for (const [rule, text, accepted, refused] of cases) {
      assert.strictEqual(mustBe(rule), text)
      for (const value of accepted) assert.strictEqual(valueOf(rule, value), value, `${text}: ${String(value)}`)
      for (const value of refused) assert.isUndefined(valueOf(rule, value), `${text}: ${String(value)}`)
    }
  })

  it("makes milliseconds of durations", () => {
    for (const given of ["2 seconds", Duration.seconds(2), { seconds: 2 }, [2, 0], 2_000_000_000n]) {
      assert.strictEqual(valueOf({ kind: "duration" }, given), 2000)
    }
  })

  it("has a default for what is not given, or says that it has to be given", () => {
    const rules = table({
      text: { kind: "text", default: "a" },
      needed: { kind: "text", required: true },
      time: { kind: "duration", default: "5 seconds" },
      noTime: { kind: "duration" },
      neededTime: { kind: "duration", required: true },
      choice: { kind: "choice", of: ["a", "b"], default: "b" },
      flag: { kind: "flag", default: false },
      part: { kind: "fraction", default: 0.1 },
      count: { kind: "count", default: 3, floor: 1 },
      bytes: { kind: "bytes", default: 7, floor: 1 },
      value: { kind: "value", accepts: () => true, mustBe: "anything" },
      neededValue: { kind: "value", required: true, accepts: () => true, mustBe: "anything" }
    })
    const { checked, given, problems } = check(rules, {})
    assert.deepStrictEqual(checked, {
      text: "a",
      needed: "",
      time: 5000,
      noTime: undefined,
      neededTime: undefined as never,
      choice: "b",
      flag: false,
      part: 0.1,
      count: 3,
      bytes: 7,
      value: undefined,
      neededValue: undefined
    })
    assert.deepStrictEqual(Array.from(given), [])
    assert.deepStrictEqual(problems, [
      { field: "needed", value: "undefined", message: "needed is not given: it must be text that is not empty" },
      {
        field: "neededTime",
        value: "undefined",
        message: "neededTime is not given: it must be a duration above zero, such as \"5 seconds\", or Infinity"
      },
      { field: "neededValue", value: "undefined", message: "neededValue is not given: it must be anything" }
    ])
  })
})

describe("the check of options", () => {
  const rules = table({
    low: { kind: "count", default: 1, floor: 0 },
    high: { kind: "count", default: 5, floor: 0 },
    deep: {
      kind: "value",
      accepts: (value) => Array.isArray(value),
      mustBe: "a list",
      resolve: (value, field) => {
        const list = value as ReadonlyArray<unknown>
        if (list.length > 2) throw list[0]
        return list.includes("bad")
          ? { value: undefined, problems: [{ field, value: "bad", message: `${field} is bad` }] }
          : { value: list.length, problems: [] }
      }
    }
  }, [{
    fields: ["low", "high"],
    broken: ({ high, low }, other, given) =>
      low > high ? `at most ${other}, which is ${high} (${Array.from(given).join()})` : undefined
  }])
  const messages = (options: unknown) => check(rules, options).problems.map(({ message }) => message)

  it("compares options that are valid, also with defaults, and knows which were given", () => {
    assert.deepStrictEqual(messages({ low: 5 }), [])
    assert.deepStrictEqual(messages({ low: 6 }), ["low is 6, but must be at most high, which is 5 (low)"])
    assert.deepStrictEqual(messages({ high: 0 }), ["low is 1, but must be at most high, which is 0 (high)"])
    assert.deepStrictEqual(messages({ low: -1, high: 0 }), [
      "low is -1, but must be a whole number of at least 0, or Infinity"
    ])
    assert.deepStrictEqual(messages({ low: 9, high: -1 }), [
      "high is -1, but must be a whole number of at least 0, or Infinity"
    ])
    const { checked, given } = check(rules, { low: 2, high: -1, deep: [1] })
    assert.deepStrictEqual(checked, { low: 2, high: 5, deep: 1 })
    assert.deepStrictEqual(Array.from(given), ["low", "deep"])
  })

  it("looks into a value, and does not believe one that has problems, or throws", () => {
    assert.deepStrictEqual(messages({ deep: 5 }), ["deep is 5, but must be a list"])
    assert.deepStrictEqual(messages({ deep: ["bad"] }), ["deep is bad"])
    assert.isUndefined(check(rules, { deep: ["bad"] }).checked.deep)
    assert.deepStrictEqual(messages({ deep: [new Error("no list"), 1, 2] }), ["deep cannot be read: no list"])
    assert.deepStrictEqual(messages({ deep: ["no list", 1, 2] }), ["deep cannot be read: \"no list\""])
  })

  it("names what is no option: by the nearest name, or the list of all at the last of them", () => {
    const hidden = Object.defineProperty({}, "hidden", { value: 1, enumerable: false })
    assert.deepStrictEqual(messages(hidden), [])
    assert.deepStrictEqual(messages({ lo: 1, first: 2, second: 3, [Symbol("hihg")]: 4 }), [
      "lo is no option; did you mean low?",
      "first is no option",
      "second is no option; the options are low, high, deep",
      "Symbol(hihg) is no option; did you mean high?"
    ])
    assert.deepStrictEqual(check(rules, { lo: "x" }).problems, [
      { field: "lo", value: "\"x\"", message: "lo is no option; did you mean low?" }
    ])
    const inherited = Object.create({ low: 3 }) as object
    assert.strictEqual(check(rules, inherited).checked.low, 3)
  })

  it("says so if there are no options, or they throw", () => {
    for (const [options, shown] of [[5, "5"], [null, "null"], ["max", "\"max\""]] as const) {
      assert.deepStrictEqual(messages(options), [`options is ${shown}, but must be an object`])
    }
    const rude = {
      get low() {
        throw new Error("no low")
      },
      high: 0
    }
    // What cannot be read is not compared.
    assert.deepStrictEqual(messages(rude), ["low cannot be read: no low"])
    const closed = new Proxy({}, {
      ownKeys: () => {
        throw new Error("no keys")
      }
    })
    assert.deepStrictEqual(messages(closed), ["options cannot be read: no keys"])
    const half = new Proxy({ odd: 1 }, {
      getOwnPropertyDescriptor: () => {
        throw new Error("no fields")
      }
    })
    assert.deepStrictEqual(messages(half), ["odd cannot be read: no fields"])
  })
})
