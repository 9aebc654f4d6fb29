/** Connections to PostgreSQL through a socket in the file system. */
import { assert } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert, TemporaryPostgres } from "effect-connection-pool/testing"
import { symlinkSync } from "node:fs"
import { folder as temporaryFolder } from "../support/files.ts"
import { describeServer, make, rulesOf, runs, Server, until } from "../support/postgres.ts"

const { failsWith } = PoolAssert

/** The folder of the socket. */
const folderOf = (server: TemporaryPostgres.TemporaryPostgres) =>
  Effect.map(server.query("show unix_socket_directories"), ([row]) => String(row!["unix_socket_directories"]))

/** Nothing for a connection through a socket in the file system. */
const from = "select inet_client_addr()::text as address"

describeServer("a connection through a socket", (it) => {
  it.effect("is made where the host is its folder: in the options, and in all forms of the URL", () =>
    Effect.gen(function*() {
      const { host, port } = yield* Server
      const folder = yield* folderOf(yield* Server)
      const escaped = encodeURIComponent(folder)
      const given: ReadonlyArray<PgPool.Options> = [
        { host: folder, port },
        { host: `${folder}/`, port },
        { hosts: [folder], port },
        { hosts: [`${folder}:${port}`] },
        { url: `postgres://postgres@${escaped}:${port}/postgres` },
        { url: `postgres:///postgres?host=${folder}&port=${port}` },
        { url: `postgres:///postgres?host=${escaped}&port=${port}` },
        // The other one does not answer.
        { url: `postgres://${escaped}:${port},${host}:1/postgres` },
        { url: `postgres:///postgres?host=${folder},${host}&port=${port},1` },
        // There is nothing to encrypt, and the server would refuse to.
        { host: folder, port, ssl: true },
        { url: `postgres:///postgres?host=${folder}&port=${port}&sslmode=verify-full` }
      ]
      for (const options of given) {
        const db = yield* PgPool.make({ username: "postgres", database: "postgres", drainTimeout: 0, ...options })
        assert.deepStrictEqual(yield* db.sql.unsafe(from), [{ address: null }], JSON.stringify(options))
        yield* db.shutdown()
      }
    }))

  it.effect("cancels a statement, and is kept", () =>
    Effect.gen(function*() {
      const host = yield* folderOf(yield* Server)
      const { backends, db } = yield* make({ host, max: 1, cancelTimeout: "5 seconds" })
      const sleeping = yield* Effect.forkChild(db.sql`select pg_sleep(20)`)
      yield* runs({ backends }, "pg_sleep")
      const [before] = yield* backends
      yield* Fiber.interrupt(sleeping)
      assert.deepStrictEqual((yield* backends).map(({ state }) => state), ["idle"])
      assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
      assert.deepStrictEqual((yield* backends).map(({ processId }) => processId), [before!.processId])
    }))

  it.effect("is not made by the rules of the server (peer), which is told at once", () =>
    Effect.gen(function*() {
      const server = yield* TemporaryPostgres.make()
      yield* server.query("create role of_nobody login")
      yield* rulesOf(server, ["host all postgres 127.0.0.1/32 trust", "local all all peer"])
      const db = yield* PgPool.make({
        host: yield* folderOf(server),
        port: server.port,
        username: "of_nobody",
        database: "postgres",
        drainTimeout: 0
      })
      const error = yield* failsWith(db.sql`select 1`, "SqlError")
      assert.deepStrictEqual([error.reason._tag, error.isRetryable], ["AuthenticationError", false])
      assert.include(error.message, "Peer authentication failed for user \"of_nobody\"")
    }))

  it.effect("is made again when the server comes back, and callers wait for it", () =>
    Effect.gen(function*() {
      const server = yield* TemporaryPostgres.make()
      const { database, port, username } = yield* server.database
      const db = yield* PgPool.make({
        host: yield* folderOf(server),
        port,
        database,
        username,
        max: 1,
        drainTimeout: 0
      })
      assert.deepStrictEqual(yield* db.sql.unsafe(from), [{ address: null }])
      yield* server.stop("fast")
      yield* until("it is gone", Effect.map(db.stats, ({ primary }) => primary.total === 0))
      const waiting = yield* Effect.forkChild(db.sql.unsafe(from))
      yield* until("it has failed", Effect.map(db.stats, ({ primary }) => primary.connectFailures > 0))
      yield* server.start
      assert.deepStrictEqual(yield* Fiber.join(waiting), [{ address: null }])
    }))

  it.effect("is not made where there can be none, which is told at once", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      symlinkSync(`${folder}/.s.PGSQL.5432`, `${folder}/.s.PGSQL.5432`)
      const { port } = yield* Server
      const socket = `${yield* folderOf(yield* Server)}/.s.PGSQL.${port}`
      const cases: ReadonlyArray<readonly [PgPool.Options, string]> = [
        [{ host: socket, port }, "`host` must be the folder of the socket"],
        [{ host: "/dev/null" }, "`host` must be the folder of the socket"],
        [{ host: folder }, "`host` must be the folder of the socket"]
      ]
      for (const [options, said] of cases) {
        const db = yield* PgPool.make({ username: "postgres", database: "postgres", drainTimeout: 0, ...options })
        const error = yield* failsWith(db.sql`select 1`, "SqlError")
        assert.include(error.message, said)
        assert.deepStrictEqual([error.isRetryable, (yield* db.stats).primary.connectAttempts], [false, 1])
      }
    }))
})
