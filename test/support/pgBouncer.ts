/** A PgBouncer in front of a temporary server, where one is installed. */
import { Effect, type Scope } from "effect"
import type { TemporaryPostgres } from "effect-connection-pool/testing"
import { type ChildProcess, spawn } from "node:child_process"
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Binaries from "../../src/testing/internal/postgres/binaries.ts"
import { freePort } from "../../src/testing/internal/postgres/process.ts"
import { environment } from "./pgBouncerProgram.ts"
import { until } from "./postgres.ts"

/** Starts one in transaction mode, with two sessions of the server for each database, for the scope. */
export const make = (
  server: TemporaryPostgres.TemporaryPostgres
): Effect.Effect<{ readonly host: string; readonly port: number }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const port = yield* freePort
    const programs = Binaries.find()
    const user = typeof programs === "string" ? undefined : programs.user
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-connection-pool-pgbouncer-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    )
    const file = join(folder, "pgbouncer.ini")
    writeFileSync(
      file,
      `[databases]
* = host=${server.host} port=${server.port} user=${server.username}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
server_login_retry = 1
`
    )
    if (user !== undefined) {
      chownSync(folder, user.uid, user.gid)
      chownSync(file, user.uid, user.gid)
    }
    chmodSync(folder, 0o700)
    yield* Effect.acquireRelease(
      Effect.sync(() => spawn("pgbouncer", [file], { cwd: folder, stdio: "ignore", env: environment, ...user })),
      stop
    )
    const isUp = Effect.callback<boolean>((resume) => {
      const socket = connect({ host: "127.0.0.1", port })
      socket.once("connect", () => resume(Effect.succeed(true))).once("error", () => resume(Effect.succeed(false)))
      return Effect.sync(() => socket.destroy())
    })
    yield* until("PgBouncer is up", isUp)
    return { host: "127.0.0.1", port }
  })

const stop = (running: ChildProcess): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (running.exitCode !== null || running.signalCode !== null) return resume(Effect.void)
    running.once("exit", () => resume(Effect.void))
    running.kill("SIGKILL")
  })
