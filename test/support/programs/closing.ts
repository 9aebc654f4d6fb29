// A connection takes its time to close, on a timer that keeps no process. Nobody waits for anything.
import { Effect, Exit, Scope } from "effect"
import { ConnectionPool } from "../../../src/index.ts"

const connect = Effect.acquireRelease(
  Effect.sync(() => ({})),
  () =>
    Effect.callback<void>((resume) => {
      setTimeout(() => {
        process.stdout.write("closed")
        resume(Effect.void)
      }, 300).unref()
    })
)
const scope = Effect.runSync(Scope.make())
const pool = Effect.runSync(Scope.provide(ConnectionPool.make({ factory: { connect }, max: 1 }), scope))
Effect.runSync(Effect.exit(pool.use(() => Effect.void)))
await Effect.runPromise(pool.use((connection) => pool.invalidate(connection)))
process.on("exit", () => Effect.runFork(Scope.close(scope, Exit.void)))
