/** A real PostgreSQL server for the tests of one file, where one can run. Time is real there. */
import { describe, layer, type Vitest } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { TemporaryPostgres } from "effect-connection-pool/testing"
import { sessionOf } from "../../src/postgres/internal/connection/leased.ts"

export class Server extends Context.Service<Server, TemporaryPostgres.TemporaryPostgres>()("test/Postgres") {}

/** Whether no server can run here. `postgresNotice.ts` says why. */
export const isUnavailable = TemporaryPostgres.unavailable() !== undefined

/** Tests that share one server. They are skipped where none can run. */
export const describeServer = (
  name: string,
  tests: (it: Vitest.MethodsNonLive<Server>) => void,
  options?: TemporaryPostgres.Options
): void => {
  describe.skipIf(isUnavailable)(name, () => {
    const server = Layer.effect(Server, TemporaryPostgres.make(options))
    layer(server, { excludeTestServices: true, timeout: "3 minutes" })(tests)
  })
}

/** A pool on a new database, and what judges it: second connections, as the superuser. */
export const make = Effect.fnUntraced(function*(
  options?: Partial<PgPool.Options> & { readonly setup?: ReadonlyArray<string> | undefined }
) {
  const { setup = [], ...rest } = options ?? {}
  const server = yield* Server
  const database = yield* server.database
  const db = yield* PgPool.make({ ...database, drainTimeout: 0, ...rest })
  const judge = (sql: string, params?: ReadonlyArray<unknown>) =>
    server.query(sql, { params, database: database.database })
  for (const sql of setup) yield* judge(sql)
  return {
    db,
    server,
    database,
    judge,
    /** The sessions of the pool, on the server. */
    backends: server.backends(database.database),
    /** Kills the sessions of the pool. */
    kill: server.kill(database.database),
    /** The single value of a query. */
    value: (sql: string, params?: ReadonlyArray<unknown>) =>
      Effect.map(judge(sql, params), ([row]) => Object.values(row ?? {})[0])
  }
})

export type Made = Effect.Success<ReturnType<typeof make>>

/** Gives a server other rules for who may connect, and how (`pg_hba.conf`), and waits until they count. The superuser must stay. */
export const rulesOf = Effect.fnUntraced(function*(
  server: TemporaryPostgres.TemporaryPostgres,
  rules: ReadonlyArray<string>
) {
  const [where] = yield* server.query("show hba_file")
  const rows = rules.map((rule) => `('${rule}')`).join(", ")
  yield* server.query(`copy (select * from (values ${rows}) rules) to '${String(where!["hba_file"])}'`)
  // A session that begins after the reload sees the time of the reload.
  const before = yield* server.query("select pg_conf_load_time()::text as loaded, pg_reload_conf()")
  yield* until(
    "the rules count",
    Effect.map(
      server.query("select pg_conf_load_time()::text as loaded"),
      (after) => after[0]!["loaded"] !== before[0]!["loaded"]
    )
  )
})

/** Waits until a pool of one connection has noticed that this connection is lost. Asks for the connection first. */
export const lossOf = (db: PgPool.PgPool): Effect.Effect<Effect.Effect<void>, unknown> =>
  Effect.map(
    db.write((connection) => Effect.sync(() => sessionOf(connection))),
    (session) => until("its loss is seen", Effect.sync(() => !session.isAlive))
  )

/** Waits until something holds, in real time: the server notices things when it does. A test that times out names what it waited for. */
export const until = <E, R>(what: string, holds: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.onInterrupt(
    Effect.gen(function*() {
      while (!(yield* holds)) yield* Effect.sleep(5)
    }),
    () => Effect.logError(`it has not come true: ${what}`)
  )

/** Waits until a statement runs on the server. */
export const runs = ({ backends }: Pick<Made, "backends">, text: string) =>
  until(
    `${text} runs`,
    Effect.map(backends, (all) => all.some(({ query, state }) => state === "active" && query.includes(text)))
  )
