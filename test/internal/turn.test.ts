import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Tracer } from "effect"
import { Sweep } from "effect-connection-pool/testing"
import { type Late, type Request, Turn, TurnDeadlines } from "../../src/internal/transaction/turn.ts"

const request: Request = { operation: "b", label: undefined, timeoutMillis: Infinity }

/** A turn whose waits have no deadline. */
const make = () => {
  const turn = new Turn(new TurnDeadlines())
  return {
    get isFree() {
      return turn.isFree
    },
    end: () => turn.end(),
    take: <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      turn.take(effect, request, (late): never => assert.fail(late.operation))
  }
}

describe("a turn", () => {
  it.effect("is taken in order of arrival, by one at a time", () =>
    Effect.gen(function*() {
      const turn = make()
      const order: Array<number> = []
      let inside = 0
      yield* Effect.forEach(
        Array.from({ length: 2000 }, (_, n) => n),
        (n) =>
          turn.take(Effect.gen(function*() {
            assert.strictEqual(++inside, 1)
            yield* Effect.yieldNow
            inside--
            order.push(n)
          })),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(order, Array.from({ length: 2000 }, (_, n) => n))
      assert.isTrue(turn.isFree)
    }))

  it.effect("is handed on, however its holder or a waiter ends", () =>
    Effect.gen(function*() {
      const report = yield* Sweep.run({
        setup: Effect.sync(() => ({ turn: make(), inside: 0, most: 0 })),
        scenario: (world) => {
          const use = world.turn.take(
            Effect.gen(function*() {
              world.most = Math.max(world.most, ++world.inside)
              yield* Effect.yieldNow
            }).pipe(Effect.ensuring(Effect.sync(() => world.inside--)))
          )
          return Effect.all([use, use, use, Effect.exit(Effect.andThen(use, Effect.fail("no")))], {
            concurrency: "unbounded"
          })
        },
        check: ({ most, turn }) =>
          Effect.gen(function*() {
            assert.isAtMost(most, 1)
            const next = yield* Effect.forkChild(turn.take(Effect.void))
            for (let turns = 0; turns < 20; turns++) yield* Effect.yieldNow
            assert.isDefined(next.pollUnsafe())
            assert.isTrue(turn.isFree)
          }),
        turns: [0, 20]
      })
      assert.isAbove(report.interrupted, 300)
    }), 120_000)

  it.effect(
    "is given to the next when the one before is interrupted, at any point of both",
    () =>
      Effect.gen(function*() {
        yield* Sweep.run({
          setup: Effect.sync(() => make()),
          scenario: () => Effect.void,
          check: (turn, _, cut) =>
            Effect.gen(function*() {
              const first = yield* Effect.forkChild(turn.take(Effect.never))
              const second = yield* Effect.forkChild(turn.take(Effect.succeed("in")))
              for (let turns = 0; turns < cut.turns; turns++) yield* Effect.yieldNow
              yield* Fiber.interrupt(first)
              for (let turns = 0; turns < 20; turns++) yield* Effect.yieldNow
              assert.deepStrictEqual(second.pollUnsafe(), Exit.succeed("in"))
            })
        })
      }),
    120_000
  )

  it.effect("is free for all after the end, also for waiters", () =>
    Effect.gen(function*() {
      const turn = make()
      const over = yield* Latch.make()
      const first = yield* Effect.forkChild(turn.take(over.await))
      yield* Effect.yieldNow
      const waiting = yield* Effect.forkChild(turn.take(Effect.succeed("on")))
      yield* Effect.yieldNow
      assert.isUndefined(waiting.pollUnsafe())
      turn.end()
      assert.strictEqual(yield* Fiber.join(waiting), "on")
      assert.strictEqual(yield* turn.take(Effect.succeed("on")), "on")
      yield* over.open
      yield* Fiber.join(first)
    }))
})

describe("the holder of the turn, in the error of a fiber that waits too long", () => {
  const external = Tracer.externalSpan({ spanId: "a1", traceId: "b2" })
  const cases: Record<
    string,
    readonly [
      label: string | undefined,
      wrap: <A>(effect: Effect.Effect<A>) => Effect.Effect<A>,
      told: { readonly label?: string }
    ]
  > = {
    "is told without a name where it has none": [undefined, (effect) => effect, {}],
    "is called by its label": ["import", (effect) => effect, { label: "import" }],
    "is called by the span that it is in": [undefined, Effect.withSpan("booking"), { label: "booking" }],
    "is called by its label rather than by its span": ["import", Effect.withSpan("booking"), { label: "import" }],
    "is not called by a span from elsewhere, which has no name": [undefined, Effect.withParentSpan(external), {}]
  }
  for (const [name, [label, wrap, told]] of Object.entries(cases)) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const turn = new Turn(new TurnDeadlines())
        const never = (late: Late): never => assert.fail(late.operation)
        let span: Tracer.AnySpan | undefined
        const held = Effect.andThen(
          Effect.map(Effect.serviceOption(Tracer.ParentSpan), (found) => {
            span = found._tag === "Some" ? found.value : undefined
          }),
          Effect.never
        )
        const holder = yield* Effect.forkChild(wrap(turn.take(held, { ...request, operation: "a", label }, never)))
        yield* Effect.yieldNow
        const late = yield* Effect.flip(turn.take(Effect.void, { ...request, timeoutMillis: 0 }, (late) => late))
        const ids = span && { span: { traceId: span.traceId, spanId: span.spanId } }
        assert.strictEqual(span === undefined, wrap(Effect.void) === Effect.void)
        assert.deepStrictEqual(late.holder, { fiber: holder.id, operation: "a", heldMillis: 0, ...told, ...ids })
        yield* Fiber.interrupt(holder)
      }))
  }
})
