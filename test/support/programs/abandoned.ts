// A pool with an abandoned connection on which something runs that never ends. Nothing else is left to do.
import { Effect, Exit, Fiber, Scope } from "effect"
import { ConnectionFactory, ConnectionPool } from "../../../src/index.ts"

const factory = ConnectionFactory.make({
  connect: Effect.acquireRelease(Effect.succeed({}), () => Effect.void),
  unfinished: () => ({ settled: Effect.callback<void>(() => Effect.void) })
})
const scope = Effect.runSync(Scope.make())
const pool = await Effect.runPromise(
  Scope.provide(ConnectionPool.make({ factory, max: 1, drainTimeout: "100 millis" }), scope)
)
await Effect.runPromise(
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(pool.use(() => Effect.never))
    yield* Effect.yieldNow
    yield* Fiber.interrupt(fiber)
  })
)
if (process.argv[2] === "close") await Effect.runPromise(Scope.close(scope, Exit.void))
process.stdout.write(JSON.stringify(Effect.runSync(pool.stats).abandoned))
