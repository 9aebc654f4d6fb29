import { Effect } from "effect"
import type { FaultyFactory } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import type { Connection } from "../pools.ts"
import { type Caller, holding, limits, type Model, observe, type Real, waiting } from "./model.ts"

/** One thing that may happen to a pool, to itself or through its driver. */
class Step implements fc.AsyncCommand<Model, Real> {
  readonly #name: string
  readonly #act: (model: Model, real: Real) => Effect.Effect<unknown, unknown>
  readonly #isPossible: (model: Readonly<Model>) => boolean

  constructor(
    name: string,
    act: (model: Model, real: Real) => Effect.Effect<unknown, unknown>,
    isPossible: (model: Readonly<Model>) => boolean = () => true
  ) {
    this.#name = name
    this.#act = act
    this.#isPossible = isPossible
  }

  check(model: Readonly<Model>): boolean {
    return this.#isPossible(model)
  }

  run(model: Model, real: Real): Promise<void> {
    return real.run(Effect.andThen(this.#act(model, real), observe(model, real)))
  }

  toString(): string {
    return this.#name
  }
}

const isOpen = (model: Readonly<Model>) => model.closedAt === Infinity

const ask = (kind: "use" | "useSync" | "acquire", timeout: number | undefined) =>
  new Step(`${kind}${timeout === undefined ? "" : ` within ${timeout}`}`, (model, real) => {
    const caller: Caller = {
      deadline: model.now + (timeout ?? limits.acquireTimeout),
      mayBeRefused: waiting(model).length >= limits.maxWaiting,
      isSync: kind === "useSync",
      isScoped: kind === "acquire",
      outcome: "waiting",
      isInterrupted: false,
      connection: undefined,
      fiber: undefined,
      finish: undefined
    }
    model.callers.push(caller)
    const receive = (connection: Connection) => {
      caller.connection = connection
      real.log.push({ caller, exit: "served" })
    }
    const body = (connection: Connection) => {
      receive(connection)
      return Effect.callback<unknown, unknown>((resume) => {
        caller.finish = resume
      })
    }
    const options = { timeout }
    const effect = kind === "use"
      ? real.pool.use(body, options)
      : kind === "useSync"
      ? real.pool.useSync(receive, options)
      : Effect.scoped(Effect.flatMap(real.pool.acquire(options), body))
    return Effect.map(Effect.forkDetach(effect), (fiber) => {
      caller.fiber = fiber
      fiber.addObserver((exit) => real.log.push({ caller, exit }))
    })
  })

const pick = (callers: ReadonlyArray<Caller>, place: number): Caller => callers[place % callers.length]!

const finish = (name: string, place: number, how: (connection: Connection) => Effect.Effect<unknown, unknown>) =>
  new Step(`${name} (${place})`, (model) =>
    Effect.sync(() => {
      const caller = pick(holding(model), place)
      caller.outcome = "over"
      if (name === "fail" || name === "die") model.suspects.add(caller.connection!.id)
      model.counts.returns++
      caller.finish!(how(caller.connection!))
    }), (model) => holding(model).length > 0)

const interrupt = (name: string, whom: (model: Readonly<Model>) => ReadonlyArray<Caller>) =>
  new Step(`interrupt ${name}`, (model) =>
    // All in one step: what one gives back is granted to another who is interrupted before or after it begins.
    Effect.sync(() => {
      for (const caller of whom(model)) {
        caller.isInterrupted = true
        if (caller.outcome === "holding") model.suspects.add(caller.connection!.id)
        caller.fiber!.interruptUnsafe()
      }
    }), (model) => whom(model).length > 0)

const at = (callers: ReadonlyArray<Caller>, place: number) => callers.length === 0 ? [] : [pick(callers, place)]

const advance = (millis: number) =>
  new Step(`advance ${millis}`, (model) => {
    model.now += millis
    return TestClock.adjust(millis)
  })

const plan = (name: string, act: (faulty: FaultyFactory.FaultyFactory, model: Model) => Effect.Effect<unknown>) =>
  new Step(name, (model, real) => act(real.faulty, model))

const operate = (name: string, act: (model: Model, real: Real) => Effect.Effect<unknown, unknown>) =>
  new Step(name, act, isOpen)

/** All steps, for pools of the sizes given. */
export const steps = (sizes: fc.Arbitrary<number>): Array<fc.Arbitrary<Step>> => {
  const all = ["connect", "validate", "reset", "disconnect", "settle"] as const
  const operation = fc.constantFrom(...all)
  const place = fc.nat(6)
  const id = fc.integer({ min: 1, max: 9 })
  const timeout = fc.option(fc.constantFrom(0, 1, 500, 2000, 20_000), { nil: undefined })
  const kind = fc.constantFrom("use" as const, "use" as const, "useSync" as const, "acquire" as const)
  const asks = fc.tuple(kind, timeout).map(([kind, timeout]) => ask(kind, timeout))
  const returns = place.map((place) => finish("return", place, () => Effect.void))
  const faults = fc.tuple(operation, fc.integer({ min: 1, max: 4 }), fc.boolean(), fc.boolean())
  return [
    asks,
    asks,
    asks,
    returns,
    returns,
    place.map((place) => finish("fail", place, () => Effect.fail("the body failed"))),
    place.map((place) => finish("die", place, () => Effect.die("the body died"))),
    place.map((place) => finish("return soiled", place, (connection) => connection.soil)),
    place.map((place) => interrupt(`one who waits (${place})`, (model) => at(waiting(model), place))),
    place.map((place) => interrupt(`one who holds (${place})`, (model) => at(holding(model), place))),
    place.map((place) =>
      interrupt(
        `one who holds and the first who waits (${place})`,
        (model) => [...at(holding(model), place), ...at(waiting(model), 0)]
      )
    ),
    fc.constant(interrupt("everybody", (model) => [...holding(model), ...waiting(model)])),
    fc.constantFrom(1, 100, 500, 1000, 5000, 10_000, 120_000, 2_000_000).map(advance),
    operation.map((operation) =>
      plan(`hold ${operation}`, (faulty, model) => {
        // Until the attempt runs into its deadline, and counts as failed.
        model.mayFail ||= operation === "connect"
        return faulty[operation].hold
      })
    ),
    operation.map((operation) => plan(`open ${operation}`, (faulty) => faulty[operation].open)),
    fc.tuple(operation, place).map(([operation, place]) =>
      plan(`pass ${operation} (${place})`, (faulty) => faulty[operation].pass(place))
    ),
    faults.map(([operation, times, transient]) =>
      plan(`fail ${operation} ${times} times${transient ? " for now" : ""}`, (faulty, model) => {
        model.mayFail ||= operation === "connect"
        return faulty[operation].fail(times, { transient })
      })
    ),
    faults.map(([operation, times, , uninterruptible]) =>
      plan(`${times > 2 ? "die" : "hang"} ${operation}`, (faulty, model) => {
        model.mayFail ||= operation === "connect"
        if (operation === "disconnect") model.hung++
        // What never ends keeps its connection for ever.
        return times > 2 || operation === "settle"
          ? faulty[operation].die()
          : faulty[operation].hang(1, { uninterruptible })
      })
    ),
    ...[1, 2].map(() =>
      place.map((place) =>
        new Step(
          `start what nobody can stop (${place})`,
          (model) => Effect.exit(pick(holding(model), place).connection!.start),
          (model) => holding(model).length > 0
        )
      )
    ),
    // There may be no such connection yet.
    id.map((id) => plan(`kill ${id}`, (faulty) => Effect.exit(faulty.kill(id)))),
    id.map((id) =>
      plan(`drop ${id}`, (faulty, model) =>
        Effect.tap(Effect.exit(faulty.drop(id)), (exit) =>
          Effect.sync(() => {
            if (exit._tag === "Success") model.invalidated.add(id)
          })))
    ),
    id.map((id) => plan(`sever ${id}`, (faulty) => Effect.exit(faulty.sever(id)))),
    place.map((place) =>
      new Step(`invalidate (${place})`, (model, real) => {
        const { connection } = pick(holding(model), place)
        model.invalidated.add(connection!.id)
        return real.pool.invalidate(connection!)
      }, (model) => holding(model).length > 0)
    ),
    fc.constant(operate("recycle", (model, real) =>
      Effect.gen(function*() {
        // All connections there are, and those being opened, have numbers up to that of the last attempt.
        model.retired = (yield* real.pool.stats).connectAttempts
        yield* real.pool.recycle
      }))),
    fc.tuple(fc.integer({ min: 1, max: 3 }), fc.boolean()).map(([concurrency, connect]) =>
      operate(
        `check ${concurrency} at a time${connect ? "" : ", opening none"}`,
        (model, real) =>
          Effect.map(Effect.forkDetach(real.pool.check({ concurrency, connect, timeout: 2000 })), (fiber) => {
            model.checks.push(fiber)
          })
      )
    ),
    fc.constant(
      new Step(
        "interrupt the first check",
        (model) => Effect.sync(() => model.checks.shift()!.interruptUnsafe()),
        (model) => model.checks.length > 0
      )
    ),
    fc.constant(operate("pause", (model, real) => {
      model.isPaused = true
      return real.pool.pause
    })),
    fc.constant(operate("resume", (model, real) => {
      model.isPaused = false
      return real.pool.resume
    })),
    fc.tuple(sizes, fc.nat(2)).map(([max, low]) =>
      operate(`resize to ${Math.min(low, max)}..${max}`, (model, real) => {
        model.isShrunk ||= max < model.max
        model.max = max
        model.min = Math.min(low, max)
        return real.pool.resize({ min: model.min, max })
      })
    ),
    fc.constant(operate("shut down", (model, real) => {
      model.closedAt = model.now
      return Effect.forkDetach(real.pool.shutdown())
    }))
  ]
}
