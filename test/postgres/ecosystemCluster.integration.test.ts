/** Effect's cluster and its workflows, with their storage on the client of a PostgreSQL pool. */
import { Effect } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { cluster } from "../support/ecosystem/cluster.ts"
import { describeServer, make } from "../support/postgres.ts"

describeServer("Effect's cluster on a PostgreSQL pool", (it) => {
  for (const { name, run, setup } of cluster) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const { database, kill, value } = yield* make({ max: 1, setup })
        yield* run({ pool: (max) => PgPool.layer({ ...database, max, drainTimeout: 0 }), value, kill })
      }), 120_000)
  }
})
