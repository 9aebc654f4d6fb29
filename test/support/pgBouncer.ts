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

export interface PgBouncer {
  readonly host: string
  readonly port: number
  /** Kills it. */
  readonly stop: Effect.Effect<void>
  /** Starts it again, on the same port. */
  readonly start: Effect.Effect<void>
}

/**
 * Starts one for the scope: in transaction mode, with two sessions of the server for each database, unless `settings` say something
 * else.
 */
export const make = (
  server: TemporaryPostgres.TemporaryPostgres,
  settings: Readonly<Record<string, string | number>> = {}
): Effect.Effect<PgBouncer, never, Scope.Scope> =>
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
${
        Object.entries({ pool_mode: "transaction", default_pool_size: 2, server_login_retry: 1, ...settings })
          .map(([name, value]) => `${name} = ${value}\n`).join("")
      }`
    )
    if (user !== undefined) {
      chownSync(folder, user.uid, user.gid)
      chownSync(file, user.uid, user.gid)
    }
    chmodSync(folder, 0o700)
    let running: ChildProcess
    const isUp = Effect.callback<boolean>((resume) => {
      const socket = connect({ host: "127.0.0.1", port })
      const settled = (isUp: boolean) => () => {
        socket.destroy()
        resume(Effect.succeed(isUp))
      }
      socket.once("connect", settled(true)).once("error", settled(false))
      return Effect.sync(() => socket.destroy())
    })
    const start = Effect.andThen(
      Effect.sync(() => {
        running = spawn("pgbouncer", [file], { cwd: folder, stdio: "ignore", env: environment, ...user })
      }),
      until("PgBouncer is up", isUp)
    )
    const stop = Effect.suspend(() => ended(running))
    yield* Effect.acquireRelease(start, () => stop)
    return { host: "127.0.0.1", port, stop, start }
  })

const ended = (running: ChildProcess): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (running.exitCode !== null || running.signalCode !== null) return resume(Effect.void)
    running.once("exit", () => resume(Effect.void))
    running.kill("SIGKILL")
  })
