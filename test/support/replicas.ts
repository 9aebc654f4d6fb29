/** A primary, a replica of it, and a pool over both. */
import { describe, layer, type Vitest } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { TemporaryPostgres } from "effect-connection-pool/testing"
import { isUnavailable, until } from "./postgres.ts"

export const hostOf = ({ host, port }: { readonly host: string; readonly port: number }): string => `${host}:${port}`

/** Servers for a test that promotes one of them. */
export const servers = Effect.gen(function*() {
  const primary = yield* TemporaryPostgres.make()
  const replica = yield* primary.replica()
  return { primary, replica }
})

export class Servers extends Context.Service<Servers, Effect.Success<typeof servers>>()("test/Replicated") {}

/** Tests that share a primary and its replica. They are skipped where no server can run. */
export const describeReplicated = (name: string, tests: (it: Vitest.MethodsNonLive<Servers>) => void): void => {
  describe.skipIf(isUnavailable)(name, () => {
    layer(Layer.effect(Servers, servers), { excludeTestServices: true, timeout: "4 minutes" })(tests)
  })
}

/** A pool over both, the replica first, so that the order does not help. */
export const poolOver = Effect.fnUntraced(
  function*({ primary, replica }: Servers["Service"], options?: Partial<PgPool.Options>) {
    const db = yield* PgPool.make({
      hosts: [hostOf(replica), hostOf(primary)],
      username: "postgres",
      database: "postgres",
      drainTimeout: 0,
      replicas: {},
      ...options
    })
    if (options?.replicas !== undefined || options === undefined || !("replicas" in options)) {
      yield* until(
        "the replica is found",
        Effect.map(db.hosts, (hosts) => hosts.some(({ host, isFresh }) => isFresh && host === hostOf(replica)))
      )
    }
    return db
  }
)
