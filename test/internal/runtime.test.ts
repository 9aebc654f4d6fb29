import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Context, Duration, Effect, Exit, Fiber, Option, Scope, Tracer } from "effect"
import { makeWithTransaction } from "effect/sql/SqlClient"
import * as Statement from "effect/sql/Statement"
import { isAsyncFiberError, isDuration, isLater } from "../../src/internal/marks.ts"
import * as Runtime from "../../src/internal/runtime.ts"
import { tracing } from "../support/tracing.ts"

const wrong = Effect.flatMap(Effect.void, () => undefined as unknown as Effect.Effect<void>)

/** What the observers of a fiber are told of its end. */
const droppedAtEnd = (effect: Effect.Effect<unknown, unknown>) =>
  Effect.gen(function*() {
    let dropped: boolean | undefined
    const fiber = yield* Effect.forkDetach(effect)
    fiber.addObserver((exit) => {
      dropped = Runtime.wasDropped(fiber, exit)
    })
    yield* Fiber.await(fiber)
    return dropped
  })

class Own<A, E> extends Runtime.OwnStep<A, E, never> {
  readonly #f: (fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E>

  constructor(f: (fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E>) {
    super()
    this.#f = f
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E> {
    return this.#f(fiber)
  }
}

const observersOf = (fiber: Fiber.Fiber<unknown, unknown>) =>
  (fiber as unknown as { readonly _observers: ReadonlyArray<unknown> })._observers

describe("what leans on the inside of Effect", () => {
  it.effect("a step can be part of another, and any other effect is left to be done", () =>
    Effect.withFiber((fiber) => {
      const steps: Array<unknown> = []
      const step = Runtime.withFiber((its) => {
        steps.push(its)
        return Exit.succeed(1)
      })
      assert.deepStrictEqual(Runtime.within(step, fiber), Exit.succeed(1))
      assert.deepStrictEqual(steps, [fiber])
      const other = Effect.sync(() => assert.fail("was run"))
      assert.strictEqual(Runtime.within(other, fiber), other)
      const throwing = Runtime.withFiber(() => {
        throw new Error("thrown")
      })
      assert.throws(() => Runtime.within(throwing, fiber), "thrown")
      assert.deepStrictEqual(Runtime.attemptWithin(throwing, fiber), Exit.die(new Error("thrown")))
      assert.strictEqual(Runtime.attemptWithin(other, fiber), other)
      return Effect.map(step, (value) => assert.deepStrictEqual([value, steps], [1, [fiber, fiber]]))
    }))

  it("a step of its own is shown as one", () => {
    assert.strictEqual((JSON.parse(JSON.stringify(new Own(() => Effect.void))) as { readonly op: string }).op, "Step")
  })

  it("recognises only a success as a success", () => {
    const successes = [Effect.void, Effect.succeed(1), Exit.succeed(undefined)]
    const others = [
      Effect.fail(1),
      Exit.die(1),
      Effect.sync(() => 1),
      Effect.map(Effect.void, () => 1),
      Effect.never,
      Runtime.withFiber(() => Effect.void)
    ]
    assert.deepStrictEqual(successes.map(Runtime.isSuccess), [true, true, true])
    assert.deepStrictEqual(
      others.map((effect) => Runtime.isSuccess<unknown, unknown, never>(effect)),
      others.map(() => false)
    )
  })

  it.effect("a step of its own is never part of another", () =>
    Effect.withFiber((fiber) => {
      const own = new Own(() => Effect.succeed(1))
      assert.strictEqual(Runtime.within(own, fiber), own)
      return Effect.map(own, (value) => assert.strictEqual(value, 1))
    }))

  it.effect("goes on, within the step, with the effect whose finalizer was installed there", () =>
    Effect.gen(function*() {
      const bodies = {
        succeeds: () => Exit.succeed(1),
        fails: () => Exit.fail("no"),
        throws: () => {
          throw new Error("thrown")
        },
        isInterrupted: () => Effect.interrupt
      }
      for (const [name, body] of Object.entries(bodies)) {
        const events: Array<string> = []
        const inner = new Own<number, string>(() => {
          events.push("inner")
          return body()
        })
        const outer = new Own<number, string>((fiber) => {
          const secured = Runtime.onExitWithin(inner, fiber, (exit) => {
            events.push(exit._tag)
            return undefined
          })
          assert.strictEqual(secured, inner)
          const rest = inner.step(fiber)
          events.push("outer")
          return rest
        })
        const exit = yield* Effect.exit(outer)
        assert.strictEqual(exit._tag, name === "succeeds" ? "Success" : "Failure")
        // The step within the step ends first; one that throws ends both.
        assert.deepStrictEqual(events, ["inner", ...(name === "throws" ? [] : ["outer"]), exit._tag])
      }
    }))

  it.effect("registers a callback within the step of a fiber", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      let go: ((effect: Effect.Effect<number>) => void) | undefined
      const waiting = new Own<number, never>((fiber) => {
        const rest = Runtime.callbackWithin<number, never, never>(fiber, (resume) => {
          events.push("registered")
          go = resume
        })
        events.push("step over")
        return rest
      })
      const fiber = yield* Effect.forkChild(waiting, { startImmediately: true })
      assert.deepStrictEqual(events, ["registered", "step over"])
      assert.isUndefined(fiber.pollUnsafe())
      go!(Effect.succeed(1))
      assert.strictEqual(yield* Fiber.join(fiber), 1)
      // One that is resumed at once does not stand still.
      const atOnce = new Own<number, never>((fiber) =>
        Runtime.callbackWithin(fiber, (resume) => resume(Effect.succeed(2)))
      )
      assert.strictEqual(yield* atOnce, 2)
      const interrupted = yield* Effect.forkChild(waiting, { startImmediately: true })
      yield* Fiber.interrupt(interrupted)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(interrupted)))
    }))

  it.effect("knows whether a fiber is traced, and the span that it is in", () =>
    Effect.gen(function*() {
      const look = Effect.withFiber((fiber) =>
        Effect.succeed([Runtime.isTraced(fiber), Runtime.spanOf(fiber)] as const)
      )
      const isEnabled = Effect.withFiber((fiber) => Effect.succeed(Runtime.isTracingEnabled(fiber)))
      assert.isTrue(yield* isEnabled)
      assert.isFalse(yield* Effect.withTracerEnabled(isEnabled, false))
      const inSpan = Effect.withSpan(Effect.zip(look, Effect.currentSpan), "request")
      assert.deepStrictEqual(yield* look, [false, undefined])
      const [[untraced, its], span] = yield* inSpan
      assert.strictEqual(untraced, false)
      assert.strictEqual(its, span)
      const tracer = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })
      const traced = Effect.provideService(inSpan, Tracer.Tracer, tracer)
      const [[isTraced, own], current] = yield* traced
      assert.strictEqual(isTraced, true)
      assert.strictEqual(own, current)
      assert.strictEqual(
        (yield* Effect.withTracerEnabled(Effect.provideService(look, Tracer.Tracer, tracer), false))[0],
        false
      )
    }))

  it.live("distinguishes the clock of the machine from another", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      assert.isTrue(Runtime.isMachineClock(clock))
      assert.isFalse(Runtime.isMachineClock({ ...clock }))
    }))

  it.effect("adds a finalizer within the step of a fiber", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      let runs = 0
      const added = yield* Effect.withFiber((fiber) =>
        Effect.succeed(Runtime.addFinalizer(scope, fiber, () => Effect.sync(() => void runs++)))
      )
      assert.strictEqual(added, true)
      assert.strictEqual(scope.state._tag, "Open")
      assert.strictEqual(runs, 0)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(runs, 1)
    }))

  it.effect("evaluates a primitive within the step of a fiber", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const [before, after] = yield* Effect.withFiber((fiber) => {
        const before = scope.state._tag
        Runtime.addFinalizer(scope, fiber, () => Effect.void)
        return Effect.succeed([before, scope.state._tag])
      })
      assert.deepStrictEqual([before, after], ["Empty", "Open"])
    }))

  it.effect("tells a fiber that cannot wait", () =>
    Effect.gen(function*() {
      const ask = Effect.withFiber((fiber) => Effect.succeed(Runtime.isSynchronous(fiber)))
      assert.strictEqual(yield* ask, false)
      assert.strictEqual(Effect.runSync(ask), true)
    }))

  it.effect("runs a function as another fiber", () =>
    Effect.gen(function*() {
      const other = yield* Effect.forkChild(Effect.never)
      const own = yield* Effect.withFiber((fiber) => Effect.succeed(fiber))
      const seen: Array<unknown> = []
      Runtime.asFiber(other, () => seen.push(Fiber.getCurrent()))
      seen.push(Fiber.getCurrent())
      assert.throws(() =>
        Runtime.asFiber(other, () => {
          throw new Error("mine")
        }), "mine")
      seen.push(Fiber.getCurrent())
      assert.deepStrictEqual(seen.map((fiber) => (fiber as typeof own).id), [other.id, own.id, own.id])
    }))

  it.effect("makes a span within the step of a fiber", () =>
    Effect.gen(function*() {
      const make = Runtime.spanMaker("statement", { kind: "client" })
      const { spans, tracer } = tracing()
      const [span, made] = yield* Effect.withFiber((fiber) => Effect.succeed([make(fiber), spans.length] as const))
        .pipe(
          Effect.annotateSpans("a", 1),
          Effect.withSpan("request"),
          Effect.withTracer(tracer)
        )
      assert.strictEqual(made, 2)
      assert.strictEqual(span, spans[1])
      assert.deepInclude(span, { name: "statement", kind: "client", parent: Option.some(spans[0]!) })
      assert.deepStrictEqual([...span!.attributes], [["a", 1]])
    }))

  it.effect("installs a finalizer within the step of a fiber", () =>
    Effect.gen(function*() {
      const ends: Array<string> = []
      const secured = (interruptItself: boolean) =>
        Runtime.withFiber((fiber) => {
          if (interruptItself) fiber.interruptUnsafe()
          return Runtime.onExitWithin(Effect.succeed(1), fiber, (exit) => {
            ends.push(exit._tag)
            return undefined
          })
        })
      assert.strictEqual(yield* secured(false), 1)
      assert.deepStrictEqual(ends, ["Success"])
      // What the fiber does first after the step is to notice the interrupt.
      yield* Fiber.await(yield* Effect.forkChild(secured(true)))
      assert.deepStrictEqual(ends, ["Success", "Failure"])
    }))

  it.effect("knows of an interrupt that comes in the present step", () =>
    Effect.gen(function*() {
      const seen: Array<boolean> = []
      const look = (interruptItself: boolean) =>
        Runtime.withFiber((fiber) => {
          seen.push(Runtime.isInterruptedInStep(fiber))
          if (interruptItself) fiber.interruptUnsafe()
          seen.push(Runtime.isInterruptedInStep(fiber))
          return Effect.void
        })
      yield* look(false)
      yield* Fiber.await(yield* Effect.forkChild(look(true)))
      // There, it goes on.
      yield* Fiber.await(yield* Effect.forkChild(Effect.uninterruptible(look(true))))
      assert.deepStrictEqual(seen, [false, false, false, true, false, false])
    }))

  it.effect("an observer that leaves is never the first of its fiber", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const observed = Effect.withFiber((fiber) => {
        const leave = Runtime.observe(fiber, () => seen.push("one that has left"))
        Runtime.observe(fiber, () => seen.push("one that stays"))
        const [first] = observersOf(fiber)
        leave()
        leave()
        assert.strictEqual(observersOf(fiber)[0], first)
        return Effect.succeed(observersOf(fiber).length)
      })
      // A fiber that nobody waits for yet has no observers.
      const fiber = yield* Effect.forkChild(observed, { startImmediately: true })
      assert.strictEqual(yield* Fiber.join(fiber), 2)
      assert.deepStrictEqual(seen, ["one that stays"])
    }))

  it("attaches a value to an object, and not to copies of it", () => {
    const attached = new Runtime.Attached<number>()
    const [one, two] = [["connection", 1] as const, Object.freeze({ name: "two" })]
    attached.set(one, 1)
    attached.set(two, 2)
    assert.deepStrictEqual([attached.get(one), attached.get(two)], [1, 2])
    assert.isUndefined(new Runtime.Attached<number>().get(one))
    for (const other of [[...one], { ...one }, { ...two }, Object.create(one)]) assert.isUndefined(attached.get(other))
    assert.deepStrictEqual([Reflect.ownKeys(one), Reflect.ownKeys(two)], [["0", "1", "length"], ["name"]])
  })

  it.effect("names the innermost transaction as Effect does", () =>
    Effect.gen(function*() {
      const service = Context.Service<"transaction", readonly [conn: string, depth: number]>("transaction")
      const transact = makeWithTransaction({
        transactionService: service,
        spanAttributes: [],
        acquireConnection: () => Effect.succeed("connection"),
        begin: () => Effect.void,
        savepoint: () => Effect.void,
        commit: () => Effect.void,
        rollback: () => Effect.void,
        rollbackSavepoint: () => Effect.void
      })
      const named = Effect.withFiber((fiber) => Effect.succeed(fiber.getRef(Runtime.currentTransactionService)))
      assert.isUndefined(yield* named)
      assert.strictEqual(yield* transact(named), service)
    }))

  it.effect("distinguishes a dropped fiber from one that has died of it", () =>
    Effect.gen(function*() {
      const finalized: Array<string> = []
      const withFinalizer = (name: string, effect: Effect.Effect<unknown, unknown>) =>
        Effect.ensuring(effect, Effect.sync(() => void finalized.push(name)))
      assert.strictEqual(yield* droppedAtEnd(withFinalizer("dropped", wrong)), true)
      const joined = Effect.flatMap(Effect.forkDetach(withFinalizer("joined", wrong)), Fiber.join)
      assert.strictEqual(yield* droppedAtEnd(withFinalizer("joins", joined)), false)
      assert.deepStrictEqual(finalized, ["joins"])
      // It has nothing left to do that could be missed.
      assert.strictEqual(yield* droppedAtEnd(wrong), false)
      for (const other of [Effect.void, Effect.fail("no"), Effect.die("no"), Effect.interrupt]) {
        assert.strictEqual(yield* droppedAtEnd(Effect.ensuring(other, Effect.void)), false)
      }
    }))

  it("ends the turn of a fiber earlier if it was charged for operations", () => {
    /** How often other fibers have their turn while one does a thousand steps. */
    const turnsWith = (operations: number) => {
      let turns = 0
      let isOver = false
      const others = Effect.whileLoop({
        while: () => !isOver,
        body: () => Effect.yieldNow,
        step: () => {
          turns++
        }
      })
      const step = Effect.withFiber((fiber) => {
        Runtime.charge(fiber, operations)
        return Effect.void
      })
      return Effect.runPromise(Effect.gen(function*() {
        yield* Effect.forkChild(others)
        for (let n = 0; n < 1000; n++) yield* step
        isOver = true
        return turns
      }))
    }
    return Promise.all([turnsWith(0), turnsWith(100)]).then(([plain, charged]) => {
      assert.isAtLeast(charged, 20)
      assert.isAtLeast(charged, plain * 5)
    })
  })

  it("knows the marks of Effect's values", () => {
    assert.isTrue(isLater(Effect.void))
    assert.isTrue(isLater(Effect.never))
    assert.isTrue(isLater(Exit.succeed(1)))
    assert.isTrue(isLater(Promise.resolve()))
    for (const value of [undefined, null, 1, "text", {}, [], () => 1, Duration.zero]) assert.isFalse(isLater(value))
    const exit = Effect.runSyncExit(Effect.never)
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : assert.fail("it cannot wait")
    assert.isTrue(Cause.isAsyncFiberError(error))
    assert.isTrue(isAsyncFiberError(error))
    for (const value of [undefined, null, new Error("async"), "text"]) assert.isFalse(isAsyncFiberError(value))
    assert.isTrue(isDuration(Duration.seconds(1)))
    assert.isFalse(isDuration({}))
  })

  it("marks a fragment as Effect does", () => {
    const sql = Statement.make(Effect.die("not run"), Statement.makeCompilerSqlite(), [], undefined)
    assert.isTrue(Runtime.fragment in sql`select 1`)
    assert.isTrue(Statement.isFragment({ [Runtime.fragment]: Runtime.fragment }))
  })
})
