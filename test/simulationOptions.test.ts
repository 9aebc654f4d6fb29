import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { type PoolError, PoolSimulation } from "effect-connection-pool"

const load = {
  arrivals: PoolSimulation.poisson(100),
  service: "5 millis",
  requests: 10
} satisfies PoolSimulation.Options

/** What is wrong with options that differ from valid ones in these. */
const problemsOf = (options: object, run: (options: never) => Effect.Effect<unknown, unknown> = PoolSimulation.run) =>
  run({ ...load, ...options } as never).pipe(
    Effect.as([] as ReadonlyArray<string>),
    Effect.catch((error) => Effect.succeed((error as PoolError.PoolConfigError).problems.map(({ message }) => message)))
  )

const suggestWith = (options: object) => problemsOf({ p99Wait: 100, ...options }, PoolSimulation.suggest)

const rows = (table: ReadonlyArray<readonly [options: object, ...problems: ReadonlyArray<string>]>, of = problemsOf) =>
  Effect.forEach(
    table,
    ([options, ...problems]) =>
      Effect.map(of(options), (found) => assert.deepStrictEqual(found, problems, JSON.stringify(options)))
  )

const duration = (name: string, value: unknown, of = "a duration above zero, such as \"5 seconds\"") =>
  `${name} is ${value}, but must be ${of}`

const missing = (name: string, of: string) => `${name} is not given: it must be ${of}`

const aboveZero = (value: unknown) => `arrivals.perSecond is ${value}, but must be a number above zero`

const connect = (bounds: unknown, counts: unknown, mean?: unknown) => ({
  connect: { _tag: "Histogram", bounds, counts, ...(mean === undefined ? undefined : { mean }) }
})

describe("the arrivals of a simulation", () => {
  it.effect("have a rate above zero", () =>
    Effect.gen(function*() {
      for (const _tag of ["Poisson", "Regular"]) {
        yield* rows([
          ...[0, -1, Infinity, NaN].map((perSecond) =>
            [{ arrivals: { _tag, perSecond } }, aboveZero(perSecond)] as const
          ),
          [{ arrivals: { _tag, perSecond: "5" } }, aboveZero("\"5\"")],
          [{ arrivals: { _tag } }, "arrivals.perSecond is not given: it must be a number above zero"],
          [
            { arrivals: { _tag, perSecond: 5, perSecnd: 5 } },
            "arrivals.perSecnd is no option; did you mean perSecond?"
          ],
          [{ arrivals: { _tag, perSecond: 0.5 } }]
        ])
      }
    }))

  it.effect("in bursts have a size, a time between them, and a base that may be zero", () =>
    rows([
      [{ arrivals: PoolSimulation.bursts({ size: 1, every: 1, perSecond: 0 }) }],
      [{ arrivals: PoolSimulation.bursts({ size: 1, every: 1, perSecond: 5 }) }],
      [
        { arrivals: { _tag: "Bursts", size: 0, every: 0, perSecond: -1 } },
        "arrivals.size is 0, but must be a whole number of at least 1",
        duration("arrivals.every", 0),
        "arrivals.perSecond is -1, but must be a number of zero or more"
      ],
      [
        { arrivals: { _tag: "Bursts", perSecond: Infinity } },
        "arrivals.size is not given: it must be a whole number of at least 1",
        "arrivals.every is not given: it must be a duration above zero, such as \"5 seconds\"",
        "arrivals.perSecond is Infinity, but must be a number of zero or more"
      ]
    ]))

  it.effect("of a day have phases, of which one has requests", () =>
    rows([
      [{ arrivals: PoolSimulation.rates([{ lasts: 5, perSecond: 0 }, { lasts: 5, perSecond: 1 }]) }],
      [{ arrivals: { _tag: "Rates" } }, "arrivals.phases is not given: it must be a list that is not empty"],
      [{ arrivals: PoolSimulation.rates([]) }, "arrivals.phases is an array, but must be a list that is not empty"],
      [
        { arrivals: { _tag: "Rates", phases: "all day" } },
        "arrivals.phases is \"all day\", but must be a list that is not empty"
      ],
      [
        { arrivals: { _tag: "Rates", phases: [{ lasts: Infinity, perSecond: -1 }, 5] } },
        duration("arrivals.phases[0].lasts", "Infinity"),
        "arrivals.phases[0].perSecond is -1, but must be a number of zero or more",
        "arrivals.phases[1] is 5, but must be an object"
      ]
    ]))

  it.effect("that were recorded are times, of which the first that is none is named", () =>
    rows([
      [{ arrivals: PoolSimulation.recorded([0, "5 millis", { seconds: 1 }]) }],
      [{ arrivals: PoolSimulation.recorded([]) }, "arrivals.times is an array, but must be a list that is not empty"],
      [
        { arrivals: PoolSimulation.recorded([1, Infinity, -1]) },
        "arrivals.times[1] is Infinity, but must be a finite duration of zero or more, such as \"20 millis\""
      ]
    ]))

  it.effect("are one of the kinds that there are", () =>
    rows(
      ([[null, "null"], ["often", "\"often\""], [{ _tag: "Uniform" }, "an object"], [
        PoolSimulation.poisson,
        "a function"
      ]] as const)
        .map(([arrivals, shown]) => [
          { arrivals },
          `arrivals is ${shown}, but must be arrivals, such as PoolSimulation.poisson(100)`
        ])
    ))
})

describe("the times of a simulation", () => {
  const text = "a duration, such as \"20 millis\", PoolSimulation.exponential(\"20 millis\"), or a function"

  it.effect("are durations, also of zero, or have the numbers of their kind", () =>
    rows([
      [{ service: 0 }],
      [
        { service: Duration.millis(5), connect: "1 millis", validate: { millis: 1 } },
        `validate is an object, but must be ${text}`
      ],
      [{ connect: -1 }, `connect is -1, but must be ${text}`],
      [{ connect: Duration.infinity }, `connect is Infinity, but must be ${text}`],
      [{ reset: { _tag: "Uniform" } }, `reset is an object, but must be ${text}`],
      [{ connect: PoolSimulation.exponential(0) }, duration("connect.mean", 0)],
      [{ connect: PoolSimulation.exponential(Infinity) }, duration("connect.mean", "Infinity")],
      [
        { connect: { _tag: "Exponential" } },
        "connect.mean is not given: it must be a duration above zero, such as \"5 seconds\""
      ],
      [{ connect: PoolSimulation.lognormal({ median: 5, p99: 5 }) }],
      [
        { connect: PoolSimulation.lognormal({ median: 5, p99: 4.9 }) },
        "connect.p99 is 4.9, but must be at least median, which is 5 ms"
      ],
      [{ connect: PoolSimulation.sampled([]) }, "connect.times is an array, but must be a list that is not empty"]
    ]))

  it.effect("from buckets have rising bounds, and one count more than those", () =>
    Effect.gen(function*() {
      const bounds =
        "connect.bounds is an array, but must be a list of numbers above zero, each above the one before it"
      const counts =
        "connect.counts is an array, but must be a list of numbers of zero or more, of which at least one is " +
        "above zero"
      yield* rows([
        [connect([1], [0, 1])],
        [connect([1, 2], [1, 0, 0], 5)],
        ...[[], [0, 1], [2, 1], [1, 1], [1, Infinity], ["1"], [NaN]].map((given) =>
          [connect(given, Array.from({ length: given.length + 1 }, () => 1)), bounds] as const
        ),
        ...[[0, 0], [-1, 1], [1, Infinity], [1, "1"]].map((given) => [connect([1], given), counts] as const),
        [connect([1], [1]), "connect.counts is an array, but must be 2 counts: one more than the bounds"],
        [connect([1], [1, 1, 1]), "connect.counts is an array, but must be 2 counts: one more than the bounds"],
        [connect([1], [1, 1], 0), duration("connect.mean", 0)],
        [
          connect("1", 1),
          "connect.bounds is \"1\", but must be a list of numbers above zero, each above the one before it",
          "connect.counts is 1, but must be a list of numbers of zero or more, of which at least one is above zero"
        ]
      ])
    }))

  it.effect("and arrivals need all that their kind is made of", () => {
    const time = "a duration above zero, such as \"5 seconds\""
    const list = "a list that is not empty"
    return rows([
      [
        { arrivals: undefined, service: undefined },
        missing("arrivals", "arrivals, such as PoolSimulation.poisson(100)"),
        missing("service", "times, such as PoolSimulation.exponential(\"20 millis\")")
      ],
      [
        { arrivals: { _tag: "Rates", phases: [{}] } },
        missing("arrivals.phases[0].lasts", time),
        missing("arrivals.phases[0].perSecond", "a number of zero or more")
      ],
      [{ arrivals: { _tag: "Recorded" } }, missing("arrivals.times", list)],
      [
        { connect: { _tag: "Histogram" } },
        missing("connect.bounds", "a list of numbers above zero, each above the one before it"),
        missing("connect.counts", "a list of numbers of zero or more, of which at least one is above zero")
      ],
      [connect([1], [1, 1], Infinity), duration("connect.mean", "Infinity")],
      [{ connect: { _tag: "Lognormal" } }, missing("connect.median", time), missing("connect.p99", time)],
      [{ connect: { _tag: "Sampled" } }, missing("connect.times", list)]
    ])
  })

  it.effect("of service may be split into work and waiting", () =>
    rows([
      [{ service: { work: 1 } }],
      [{ service: { work: PoolSimulation.exponential(1), waiting: "2 millis", threads: 2 } }],
      [{ service: { waiting: 5 } }, `service.work is not given: it must be ${text}`],
      [
        { service: { threads: 0.5 } },
        `service.work is not given: it must be ${text}`,
        "service.threads is 0.5, but must be a whole number of at least 1"
      ],
      [
        { service: { work: -1, waiting: "x" } },
        `service.waiting is "x", but must be ${text}`,
        `service.work is -1, but must be ${text}`
      ],
      [{ service: null }, `service is null, but must be ${text}`]
    ]))

  it.effect("that a function returns are named by its option", () =>
    rows([
      [
        { service: { work: 1, waiting: () => NaN } },
        "the result of service.waiting is NaN, but must be a finite duration of zero or more"
      ],
      [{ service: () => Infinity }, "the result of service is Infinity, but must be a finite duration of zero or more"],
      [{ service: () => 0 }],
      [{ reset: () => undefined }, "the result of reset is undefined, but must be a finite duration of zero or more"]
    ]))
})

describe("the other options of a simulation", () => {
  it.effect("are whole numbers, parts, functions and outages", () =>
    rows([
      [{ requests: 1, warmUp: 0, seed: 0, onProgress: () => Effect.void, outages: [] }],
      [{ warmUp: 0.99, seed: Number.MAX_SAFE_INTEGER }],
      [{ requests: 1.5 }, "requests is 1.5, but must be a whole number of at least 1"],
      [{ requests: Infinity }, "requests is Infinity, but must be a whole number of at least 1"],
      [{ duration: Infinity }, duration("duration", "Infinity")],
      [{ duration: 0 }, duration("duration", 0)],
      ...[-0.1, 1, NaN].map((warmUp) =>
        [{ warmUp }, `warmUp is ${warmUp}, but must be a number from 0 to below 1`] as const
      ),
      [{ warmUp: "0" }, "warmUp is \"0\", but must be a number from 0 to below 1"],
      [{ seed: 1.5 }, "seed is 1.5, but must be a whole number of at least 0"],
      [{ onProgress: Effect.void }, "onProgress is an object, but must be a function that returns an Effect"],
      [{ outages: { from: 1, to: 2 } }, "outages is an object, but must be a list"],
      [
        { outages: [{ from: -1, to: Infinity, drops: 1, isTransient: "no", connect: "slow" }, {}] },
        "outages[0].from is -1, but must be a duration of zero or more, such as \"5 seconds\"",
        duration("outages[0].to", "Infinity"),
        "outages[0].drops is 1, but must be true or false",
        "outages[0].isTransient is \"no\", but must be true or false",
        "outages[0].connect is \"slow\", but must be a duration, such as \"20 millis\", " +
        "PoolSimulation.exponential(\"20 millis\"), or a function",
        "outages[1].from is not given: it must be a duration of zero or more, such as \"5 seconds\"",
        "outages[1].to is not given: it must be a duration above zero, such as \"5 seconds\""
      ],
      [{ pool: { connectTimeout: Infinity }, outages: [{ from: 0, to: 5 }] }],
      [{ outages: [{ from: 0, to: 5, connect: "hangs" }] }]
    ]))

  it.effect("of suggest are a goal and a limit", () =>
    rows([
      [{ p99Wait: 0, upTo: 1 }],
      [{ upTo: 10_000 }],
      [
        { p99Wait: undefined },
        "p99Wait is not given: it must be a duration of zero or more, such as \"5 seconds\""
      ],
      [{ p99Wait: -1 }, "p99Wait is -1, but must be a duration of zero or more, such as \"5 seconds\""],
      [{ p99Wait: Infinity }, "p99Wait is Infinity, but must be a duration of zero or more, such as \"5 seconds\""],
      [{ upTo: 0 }, "upTo is 0, but must be a whole number from 1 to 10000"],
      [{ upTo: 10_001 }, "upTo is 10001, but must be a whole number from 1 to 10000"],
      [{ pool: { min: 5 }, upTo: 5 }],
      [{ pool: { min: 6 }, upTo: 5, seed: 0.5 }, "seed is 0.5, but must be a whole number of at least 0"]
    ], suggestWith))

  it.effect("have an error with the name of the pool, which is \"pool\" by default", () =>
    Effect.gen(function*() {
      for (const [pool, name] of [[undefined, "pool"], [{ name: "orders" }, "orders"]] as const) {
        const options = { ...load, pool, requests: 0 }
        const ran = yield* Effect.flip(PoolSimulation.run(options))
        const suggested = yield* Effect.flip(PoolSimulation.suggest({ ...options, p99Wait: 5 }))
        const drawn = yield* Effect.flip(PoolSimulation.run({ ...load, pool, service: () => -1 }))
        assert.deepStrictEqual([ran, suggested, drawn].map(({ pool }) => pool), [name, name, name])
      }
    }))

  it.effect("have defaults that depend on each other", () =>
    Effect.gen(function*() {
      const counted = (options: Omit<PoolSimulation.Options, "service">) =>
        Effect.map(PoolSimulation.run({ service: 1, pool: { max: 100 }, ...options }), ({ requests }) => requests)
      const arrivals = PoolSimulation.regular(100)
      const outages = [{ from: 1, to: 2 }]
      assert.strictEqual(yield* counted({ arrivals }), 18_000)
      assert.strictEqual(yield* counted({ arrivals, outages }), 20_000)
      assert.strictEqual(yield* counted({ arrivals, requests: 50 }), 45)
      // Until 300 seconds, of which the first tenth is not counted.
      assert.strictEqual(yield* counted({ arrivals, duration: "300 seconds" }), 27_001)
      assert.strictEqual(yield* counted({ arrivals, duration: "300 seconds", requests: 5000 }), 2001)
      const recorded = PoolSimulation.recorded([1, 2, 3, 4, 50])
      assert.strictEqual(yield* counted({ arrivals: recorded }), 5)
      assert.strictEqual(yield* counted({ arrivals: recorded, requests: 3 }), 3)
      assert.strictEqual(yield* counted({ arrivals: recorded, requests: 30 }), 5)
      assert.strictEqual(yield* counted({ arrivals: recorded, duration: 10 }), 4)
      assert.strictEqual(yield* counted({ arrivals: recorded, warmUp: 0.4 }), 3)
      // The pool is lazy, and the database answers at once.
      const { connects, lastedMillis, seed } = yield* PoolSimulation.run({
        service: 1,
        arrivals: recorded,
        pool: { min: 3 }
      })
      assert.deepStrictEqual([connects.times.max, lastedMillis, seed], [0, 51, 1])
    }))
})
