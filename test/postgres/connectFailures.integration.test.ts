/** What a failed connect attempt to PostgreSQL says, and whether it is final. There is no server of PostgreSQL here. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { type AddressInfo, createServer, type Socket } from "node:net"
import { toConnectError } from "../../src/postgres/internal/connection/connectFailures.ts"

/** The port of a server that is none of PostgreSQL. */
const serving = (serve: (socket: Socket) => void) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<ReturnType<typeof createServer>>((resume) => {
        const server = createServer((socket) => serve(socket.on("error", () => {})))
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    ),
    (server) => (server.address() as AddressInfo).port
  )

describe("a connect attempt to what is no PostgreSQL server", () => {
  it.live("fails at once, and says so, with and without TLS", () =>
    Effect.scoped(Effect.gen(function*() {
      const http = yield* serving((socket) => socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")))
      const half = yield* serving((socket) =>
        socket.once("data", () => {
          socket.write("S")
          socket.once("data", () => socket.end("this is no TLS"))
        })
      )
      const cases: ReadonlyArray<readonly [PgPool.Options, string]> = [
        [{ port: http }, "what answers there seems to be no PostgreSQL server: look at `host` and `port`"],
        [{ port: http, ssl: true }, "what answers there seems to be no PostgreSQL server: look at `host` and `port`"],
        [{ port: half, ssl: true }, "wrong version number"]
      ]
      for (const [options, said] of cases) {
        const db = yield* PgPool.make({ host: "127.0.0.1", username: "ada", drainTimeout: 0, ...options })
        const error = yield* PoolAssert.failsWith(db.sql`select 1`, "SqlError")
        assert.include(error.message, said)
        assert.deepStrictEqual([error.isRetryable, (yield* db.stats).primary.connectAttempts], [false, 1])
      }
    })))
})

describe("the error of a connect attempt", () => {
  const failed = (code: string) => {
    const cause = Object.assign(new Error("it failed"), { code })
    return toConnectError(
      new SqlError({
        reason: new ConnectionError({ cause, message: "PgConnection: Failed to connect", operation: "connect" })
      })
    )
  }

  it("says what to do, and is not retryable, where another attempt cannot help", () => {
    const cases: ReadonlyArray<readonly [code: string, reason: string, hint: string]> = [
      ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "AuthenticationError", "`ssl: { ca }`"],
      ["CERT_NOT_YET_VALID", "AuthenticationError", "clock of this machine"],
      ["CERT_HAS_EXPIRED", "AuthenticationError", "a new certificate"],
      ["ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE", "AuthenticationError", "`ssl: { cert, key }`"],
      ["ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION", "AuthenticationError", "`minVersion` and `maxVersion`"],
      ["ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE", "AuthenticationError", "`ciphers`"],
      ["EACCES", "UnknownError", "may not enter the folder"],
      ["ENOTDIR", "UnknownError", "the folder of the socket"],
      ["ENOTFOUND", "UnknownError", "no such host"]
    ]
    for (const [code, reason, hint] of cases) {
      const error = failed(code)
      assert.deepStrictEqual([error.reason._tag, error.isRetryable], [reason, false], code)
      assert.include(error.message, hint)
      assert.include(error.message, "it failed")
    }
    // Without a hint, the words of the driver.
    assert.strictEqual(failed("EINVAL").message, "Failed to connect: it failed")
  })

  it("is retryable where another attempt may help", () => {
    for (const code of ["ECONNREFUSED", "ECONNRESET", "ENOENT", "ETIMEDOUT"]) {
      const error = failed(code)
      assert.deepStrictEqual([error.reason._tag, error.isRetryable], ["ConnectionError", true], code)
    }
  })
})
