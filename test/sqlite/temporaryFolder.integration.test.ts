import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { folder } from "../support/files.ts"

describe("a temporary database", () => {
  it.effect("fails with a typed error if the system has no folder for it", () =>
    Effect.gen(function*() {
      const missing = join(yield* folder, "missing")
      const before = process.env["TMPDIR"]
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          process.env["TMPDIR"] = missing
        }),
        () =>
          Effect.sync(() => {
            if (before === undefined) delete process.env["TMPDIR"]
            else process.env["TMPDIR"] = before
          })
      )
      assert.strictEqual(tmpdir(), missing)
      const message = yield* Effect.as(Effect.scoped(SqlitePool.makeTemporary({ name: "test" })), "open").pipe(
        Effect.catchTag("ConnectError", (error) => Effect.succeed(error.message))
      )
      assert.include(message, `pool "test": could not connect: `)
      assert.include(message, `cannot make a folder in "${missing}", the folder for temporary files (`)
      assert.include(message, "set TMPDIR to another one")
    }))
})
