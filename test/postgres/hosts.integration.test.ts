/** Databases of three hosts: two replicas, and a host that does not answer. */
import { assert } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { createServer } from "node:net"
import { until } from "../support/postgres.ts"
import { describeReplicated, hostOf, Servers } from "../support/replicas.ts"

/** A host that takes connections, and then says nothing. */
const mute = Effect.map(
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>>((resume) => {
      const server = createServer()
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  ),
  (server) => `127.0.0.1:${(server.address() as { readonly port: number }).port}`
)

describeReplicated("a PostgreSQL pool over three hosts", (it) => {
  it.effect(
    "spreads its reads over two replicas, and reads on the other one while one is away",
    () =>
      Effect.gen(function*() {
        const { primary, replica } = yield* Servers
        const second = yield* primary.replica()
        const db = yield* PgPool.make({
          url: `postgres://postgres@${[primary, replica, second].map(hostOf).join(",")}/postgres`,
          max: 1,
          replicas: { max: 4, min: 4 },
          drainTimeout: 0
        })
        const ports = Effect.map(
          Effect.forEach(
            Array.from({ length: 4 }),
            () => db.read((connection) => connection.query("select inet_server_port() as port, pg_sleep(0.05)::text")),
            { concurrency: "unbounded" }
          ),
          (answers) => answers.map(([row]) => row!["port"]).toSorted()
        )
        const isSpread = (...expected: ReadonlyArray<number>) =>
          until(
            `they are read: ${expected.join(", ")}`,
            // A read may meet a connection whose loss was not noticed yet.
            Effect.match(ports, {
              onFailure: () => false,
              onSuccess: (all) => JSON.stringify(all) === JSON.stringify(expected.toSorted())
            })
          )
        // Both are known, once those that were opened before are recycled.
        yield* until("both are fresh", Effect.map(db.hosts, (all) => all.filter(({ isFresh }) => isFresh).length === 2))
        yield* db.replicas!.recycle
        yield* isSpread(replica.port, replica.port, second.port, second.port)
        yield* second.stop("immediate")
        yield* isSpread(replica.port, replica.port, replica.port, replica.port)
        assert.deepStrictEqual(yield* db.sql`select inet_server_port() as port for update`, [{ port: primary.port }])
      }),
    { timeout: 120_000 }
  )

  it.effect("starts although one of them does not answer, and says so", () =>
    Effect.gen(function*() {
      const { primary, replica } = yield* Servers
      const silent = yield* mute
      const scope = yield* Scope.make()
      const db = yield* Scope.provide(
        PgPool.make({
          hosts: [silent, hostOf(primary), hostOf(replica)],
          username: "postgres",
          database: "postgres",
          min: 1,
          max: 1,
          replicas: { max: 1 },
          drainTimeout: 0
        }),
        scope
      )
      assert.deepStrictEqual(yield* db.sql`select inet_server_port() as port for update`, [{ port: primary.port }])
      yield* until(
        "it is called away",
        Effect.map(db.hosts, (all) => all.some(({ host, role }) => host === silent && role === "away"))
      )
      const [host] = yield* db.hosts
      assert.include(host!.problem, "it has not answered within 3000 ms")
      assert.deepStrictEqual(yield* db.replicaSql`select inet_server_port() as port`, [{ port: replica.port }])
      // The question that hangs does not keep the pool from closing.
      yield* Scope.close(scope, Exit.void)
    }), { timeout: 120_000 })
})
