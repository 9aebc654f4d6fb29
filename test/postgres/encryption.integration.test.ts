/** Encrypted connections to PostgreSQL. */
import { assert } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert, TemporaryPostgres } from "effect-connection-pool/testing"
import type { ConnectionOptions } from "node:tls"
import { describeServer, make, rulesOf, runs, Server, until } from "../support/postgres.ts"
import {
  authority,
  certificate,
  clientCertificate,
  clientKey,
  key,
  lockedKey,
  passphrase,
  servers,
  strangeClientCertificate,
  strangeClientKey
} from "../support/tls.ts"

const { failsWith } = PoolAssert

const isEncrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"

describeServer("an encrypted connection", (it) => {
  it.effect("is what the server says it is", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1, ssl: { ca: certificate } })
      assert.deepStrictEqual(yield* db.sql.unsafe(isEncrypted), [{ ssl: true }])
      const { db: plain } = yield* make({ max: 1, ssl: false })
      assert.deepStrictEqual(yield* plain.sql.unsafe(isEncrypted), [{ ssl: false }])
    }))

  it.effect("is not made with a certificate that nobody knows, and no other attempt is made", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1, ssl: true })
      const error = yield* failsWith(db.write(() => Effect.void), "ConnectError")
      assert.include(error.message, "self-signed certificate")
      assert.include(error.message, "give its certificate as `ssl: { ca }`")
      assert.strictEqual((yield* db.stats).primary.connectAttempts, 1)
    }))

  it.effect("cancels a statement, and is kept", () =>
    Effect.gen(function*() {
      const { backends, db } = yield* make({ max: 1, cancelTimeout: "5 seconds", ssl: { ca: certificate } })
      const sleeping = yield* Effect.forkChild(db.sql`select pg_sleep(20)`)
      yield* runs({ backends }, "pg_sleep")
      const [before] = yield* backends
      yield* Fiber.interrupt(sleeping)
      assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
      assert.deepStrictEqual((yield* backends).map(({ processId }) => processId), [before!.processId])
    }))

  it.effect("is replaced when it is lost, while nobody asks", () =>
    Effect.gen(function*() {
      const { backends, kill } = yield* make({ min: 1, max: 1, ssl: { ca: certificate } })
      const [before] = yield* backends
      yield* kill
      yield* until(
        "another is there",
        Effect.map(backends, (all) => all.length === 1 && all[0]!.processId !== before!.processId)
      )
    }))

  it.effect("is not made if the application refuses the certificate, and what it throws is an error that can be caught", () =>
    Effect.gen(function*() {
      const refusals: ReadonlyArray<readonly [ConnectionOptions["checkServerIdentity"], string]> = [
        [() => new Error("not this one"), "not this one"],
        [() => {
          throw new Error("boom")
        }, "checkServerIdentity: boom"]
      ]
      for (const [checkServerIdentity, said] of refusals) {
        const { db } = yield* make({ max: 1, ssl: { ca: certificate, checkServerIdentity } })
        const error = yield* failsWith(db.write(() => Effect.void), "ConnectError")
        assert.include(error.message, said)
        assert.strictEqual((yield* db.stats).primary.connectAttempts, 1)
      }
      const { db } = yield* make({ max: 1, ssl: { ca: certificate, checkServerIdentity: () => undefined } })
      assert.deepStrictEqual(yield* db.sql.unsafe(isEncrypted), [{ ssl: true }])
    }))

  it.effect("leaves nothing behind when eight are closed", () =>
    Effect.gen(function*() {
      const { backends, db } = yield* make({ min: 8, max: 8, ssl: { ca: certificate } })
      assert.strictEqual((yield* backends).length, 8)
      yield* db.shutdown()
      assert.deepStrictEqual(yield* backends, [])
      assert.strictEqual((yield* db.stats).primary.total, 0)
    }))

  it.effect("is made to those of several servers whose certificate is known, also after a failover", () =>
    Effect.gen(function*() {
      const server = yield* TemporaryPostgres.make({ tls: servers.good })
      const known = yield* server.replica({ tls: servers.address })
      const strange = yield* server.replica({ tls: servers.wrong })
      const { database, username } = yield* server.database
      yield* known.caughtUp
      const db = yield* PgPool.make({
        hosts: [server, known, strange].map(({ host, port }) => `${host}:${port}`),
        database,
        username,
        max: 2,
        replicas: { max: 2 },
        ssl: { ca: authority },
        drainTimeout: 0
      })
      yield* until(
        "all were asked",
        Effect.map(db.hosts, (all) => all.filter(({ role }) => role !== "unknown").length === 3)
      )
      const [, , refused] = yield* db.hosts
      assert.strictEqual(refused!.role, "away")
      assert.include(refused!.problem!, "does not match certificate")
      const where = "select ssl, pg_is_in_recovery() as replica from pg_stat_ssl where pid = pg_backend_pid()"
      assert.deepStrictEqual(yield* db.replicaSql.unsafe(where), [{ ssl: true, replica: true }])
      assert.deepStrictEqual(yield* db.sql.unsafe(where), [{ ssl: true, replica: false }])
      yield* server.stop("immediate")
      yield* known.promote
      // The first may be lost with the session on which it was sent.
      const there = yield* Effect.retry(db.sql.unsafe(`${where} and not pg_is_in_recovery()`), { times: 5 })
      assert.deepStrictEqual(there, [{ ssl: true, replica: false }])
    }))
}, { tls: { certificate, key } })

/** A pool on a server with this certificate, and the error of its first caller. */
const refusalBy = Effect.fnUntraced(function*(
  server: TemporaryPostgres.TemporaryPostgres,
  options: Partial<PgPool.Options>
) {
  const { host, port, username } = server
  const db = yield* PgPool.make({ host, port, username, database: "postgres", max: 1, drainTimeout: 0, ...options })
  const error = yield* failsWith(db.sql`select 1`, "SqlError")
  // Another attempt cannot help, so none is made, and nobody is told to try again.
  assert.deepStrictEqual([error.isRetryable, (yield* db.stats).primary.connectAttempts], [false, 1], error.message)
  return [error.reason._tag, error.message] as const
})

describeServer("a server without TLS", (it) => {
  it.effect("is refused at once if TLS is asked for, and the error says what to do", () =>
    Effect.gen(function*() {
      const [reason, message] = yield* refusalBy(yield* Server, { ssl: true })
      assert.strictEqual(reason, "AuthenticationError")
      assert.include(message, "The server does not support TLS: switch it on there (`ssl = on`), or leave out `ssl`")
    }))
})

describeServer("a server with a certificate of an authority", (it) => {
  it.effect("is known by that authority, and refused at once by all others", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ ssl: { ca: authority } })
      assert.deepStrictEqual(yield* db.sql.unsafe(isEncrypted), [{ ssl: true }])
      const { db: loose } = yield* make({ ssl: { rejectUnauthorized: false } })
      assert.deepStrictEqual(yield* loose.sql.unsafe(isEncrypted), [{ ssl: true }])
      for (const ssl of [true, { ca: certificate }]) {
        const [reason, message] = yield* refusalBy(yield* Server, { ssl })
        assert.strictEqual(reason, "AuthenticationError")
        assert.include(message, "give its certificate as `ssl: { ca }`")
      }
      const url = (mode: string) => {
        return Effect.map(Server, ({ port }) => `postgres://postgres@127.0.0.1:${port}/postgres?sslmode=${mode}`)
      }
      for (const mode of ["require", "verify-ca", "verify-full"]) {
        const [, message] = yield* refusalBy(yield* Server, { url: yield* url(mode) })
        assert.include(message, "give its certificate as `ssl: { ca }`")
        const known = yield* PgPool.make({ url: yield* url(mode), ssl: { ca: authority }, drainTimeout: 0 })
        assert.deepStrictEqual(yield* known.sql.unsafe(isEncrypted), [{ ssl: true }])
      }
      const plain = yield* PgPool.make({ url: yield* url("disable"), drainTimeout: 0 })
      assert.deepStrictEqual(yield* plain.sql.unsafe(isEncrypted), [{ ssl: false }])
    }))

  it.effect("is refused at once under a name that the certificate does not have", () =>
    Effect.gen(function*() {
      const [reason, message] = yield* refusalBy(yield* Server, { ssl: { ca: authority, servername: "db.internal" } })
      assert.strictEqual(reason, "AuthenticationError")
      assert.include(message, "give the name that is in it as `ssl: { servername }`")
      const { db } = yield* make({ ssl: { ca: authority, servername: "localhost" } })
      assert.deepStrictEqual(yield* db.sql.unsafe(isEncrypted), [{ ssl: true }])
      // An address is no name for Node, which warns and will refuse it.
      const { db: address } = yield* make({ host: "localhost", ssl: { ca: authority, servername: "127.0.0.1" } })
      assert.deepStrictEqual(yield* address.sql.unsafe(isEncrypted), [{ ssl: true }])
      const [, other] = yield* refusalBy(yield* Server, { ssl: { ca: authority, servername: "127.0.0.2" } })
      assert.include(other, "IP: 127.0.0.2 is not in the cert's list")
    }))

  it.effect("with no version of TLS in common is refused at once", () =>
    Effect.gen(function*() {
      const [reason, message] = yield* refusalBy(yield* Server, { ssl: { ca: authority, maxVersion: "TLSv1.1" } })
      assert.strictEqual(reason, "AuthenticationError")
      assert.include(message, "look at `minVersion` and `maxVersion` in `ssl`")
      assert.notInclude(message, "openssl")
    }))
}, { tls: servers.good })

describeServer("a server with an expired certificate", (it) => {
  it.effect("is refused at once", () =>
    Effect.gen(function*() {
      const [reason, message] = yield* refusalBy(yield* Server, { ssl: { ca: authority } })
      assert.strictEqual(reason, "AuthenticationError")
      assert.include(message, "certificate has expired: the server needs a new certificate")
    }))
}, { tls: servers.expired })

describeServer("a server that asks clients for a certificate", (it) => {
  it.effect("accepts the role that is in it, and tells the others at once what is missing", () =>
    Effect.gen(function*() {
      const server = yield* Server
      yield* server.query("create role ada login")
      const [files] = yield* server.query("show data_directory")
      const file = `${String(files!["data_directory"])}/authority.pem`
      yield* server.query(
        `copy (select unnest(string_to_array($$${authority.trim()}$$, chr(10)))) to '${file}'`
      )
      yield* server.query(`alter system set ssl_ca_file = '${file}'`)
      yield* rulesOf(server, [
        "host all postgres 127.0.0.1/32 trust",
        "hostssl all ada 127.0.0.1/32 cert clientcert=verify-full",
        "hostssl all all 127.0.0.1/32 trust clientcert=verify-ca"
      ])
      const ada = { host: server.host, port: server.port, username: "ada", database: "postgres", drainTimeout: 0 }
      const who = "select current_user::text as who, client_dn as dn from pg_stat_ssl where pid = pg_backend_pid()"
      for (const known of [{ key: clientKey }, { key: lockedKey, passphrase }]) {
        const ssl = { ca: authority, cert: clientCertificate, ...known }
        const db = yield* PgPool.make({ ...ada, ssl })
        assert.deepStrictEqual(yield* db.sql.unsafe(who), [{ who: "ada", dn: "/CN=ada" }])
        // Whoever has the client does not see the key.
        assert.notProperty(db.sql.config.ssl, "key")
      }
      const refusals: ReadonlyArray<readonly [PgPool.Options["ssl"], string]> = [
        [
          { ca: authority },
          "connection requires a valid client certificate (SQLSTATE 28000): give one as `ssl: { cert, key }`"
        ],
        [
          { ca: authority, cert: servers.expired.certificate, key: servers.expired.key },
          "certificate expired: the server does not accept the certificate of this client"
        ],
        [
          { ca: authority, cert: strangeClientCertificate, key: strangeClientKey },
          "the server does not accept the certificate of this client: give one that it knows as `ssl: { cert, key }`"
        ],
        [false, "no encryption (SQLSTATE 28000): the server may want an encrypted connection: set `ssl`"]
      ]
      for (const [ssl, said] of refusals) {
        const [reason, message] = yield* refusalBy(server, { ...ada, ssl })
        assert.strictEqual(reason, "AuthenticationError")
        assert.include(message, said)
        assert.notInclude(message, "openssl")
      }
    }))
}, { tls: servers.good })
