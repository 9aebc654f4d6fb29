/** A process whose user has no name, as in many containers. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { vi } from "vitest"

vi.mock("node:os", async (original: () => Promise<object>) => ({
  ...await original(),
  userInfo: () => {
    throw new Error("uv_os_get_passwd returned ENOENT")
  }
}))

describe("a PostgreSQL pool of a user without a name", () => {
  it.effect("needs a role: in the options, or in the URL", () =>
    Effect.gen(function*() {
      const error = yield* PoolAssert.failsWith(Effect.scoped(PgPool.make({ host: "db" })), "PoolConfigError")
      assert.include(
        error.message,
        "username is undefined, but must be given, because the user of this process has no name"
      )
      for (const options of [{ username: "ada" }, { url: "postgres://ada@db" }]) {
        yield* Effect.scoped(PgPool.make(options))
      }
    }))
})
