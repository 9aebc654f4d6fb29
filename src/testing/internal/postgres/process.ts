/** The process of a temporary PostgreSQL server: starts it, waits until it is ready, and stops it. */
import { Effect } from "effect"
import { type ChildProcess, execFile, spawn } from "node:child_process"
import {
  chmodSync,
  chownSync,
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Programs } from "./binaries.ts"
import { copyData } from "./copyData.ts"

export interface Settings {
  readonly programs: Programs
  /** Settings of the server, as in `postgresql.conf`. */
  readonly parameters: Readonly<Record<string, string | number | boolean>>
  readonly tls: Tls | undefined
  /** The server that it follows, if it is a replica. */
  readonly primaryPort?: number | undefined
}

/** The certificate of the server, and its private key, as PEM. */
export interface Tls {
  readonly certificate: string
  readonly key: string
}

/** How a server is stopped: `"fast"` ends its sessions, `"immediate"` is a crash. */
export type StopMode = "fast" | "immediate"

export class Server {
  readonly folder: string
  readonly #settings: Settings
  #port: number
  #hasBeenReady = false
  /** Where the log of the last start begins. */
  #logBegin = 0
  #process: ChildProcess | undefined = undefined
  #guard: ChildProcess | undefined = undefined

  constructor(settings: Settings, folder: string, port: number) {
    this.#settings = settings
    this.folder = folder
    this.#port = port
  }

  /** Until the server was ready once, this is the port that it will try first. */
  get port(): number {
    return this.#port
  }

  get tls(): Tls | undefined {
    return this.#settings.tls
  }

  get processId(): number | undefined {
    return this.#process?.pid
  }

  /** Makes the data folder. */
  readonly prepare: Effect.Effect<void, string> = Effect.suspend(() => Effect.andThen(this.#initialize, this.#encrypt))

  readonly #initialize: Effect.Effect<void, string> = Effect.callback<void, string>((resume) => {
    const { initdb, user } = this.#settings.programs
    const flags = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    const running = execFile(
      initdb,
      ["-D", this.#data, ...flags],
      { cwd: this.folder, ...user },
      (error, _, stderr) =>
        resume(error === null ? Effect.void : Effect.fail(`initdb failed: ${stderr.trim() || error.message}`))
    )
    return Effect.sync(() => running.kill("SIGKILL"))
  })

  readonly #encrypt: Effect.Effect<void> = Effect.sync(() => {
    const { programs: { user }, tls } = this.#settings
    if (tls === undefined) return
    for (const [name, pem] of [["server.crt", tls.certificate], ["server.key", tls.key]] as const) {
      const file = join(this.#data, name)
      writeFileSync(file, pem, { mode: 0o600 })
      if (user !== undefined) chownSync(file, user.uid, user.gid)
    }
  })

  /** Makes the data folder of a replica from that of a server that is in the state of a backup (`pg_backup_start`). */
  readonly prepareFrom = (primary: Server): Effect.Effect<void, string> =>
    Effect.andThen(
      Effect.tryPromise({
        try: () => copyData(primary.#data, this.#data, this.#settings.programs.user),
        catch: (error) => `the data of the primary cannot be copied: ${String(error)}`
      }),
      // The certificate of the primary was copied too.
      this.#encrypt
    )

  /** Says to the copied data where its backup began (`pg_backup_stop`), and that it is a replica. */
  readonly becomeReplica = (label: string): Effect.Effect<void, string> =>
    Effect.try({
      try: () => {
        const { user } = this.#settings.programs
        for (const [name, text] of [["backup_label", label], ["standby.signal", ""]] as const) {
          const file = join(this.#data, name)
          writeFileSync(file, text, { mode: 0o600 })
          if (user !== undefined) chownSync(file, user.uid, user.gid)
        }
      },
      catch: (error) => `the replica cannot be prepared: ${String(error)}`
    })

  /**
   * Starts the server, and waits until it takes connections. Somebody else may have taken its port meanwhile: before it was ready
   * for the first time, it takes another one then. After that it waits for a moment, and tries again.
   */
  readonly start: Effect.Effect<void, string> = Effect.suspend(() =>
    this.#process === undefined ? this.#startWithin(mostTries) : Effect.void
  )

  #startWithin(tries: number): Effect.Effect<void, string> {
    const ready = Effect.tap(this.#launch, () =>
      Effect.sync(() => {
        this.#hasBeenReady = true
      }))
    return Effect.catch(ready, (problem) => {
      if (tries === 1 || !this.#isPortTaken) return Effect.fail(problem)
      return Effect.andThen(this.#hasBeenReady ? pause : this.#takeAnotherPort, this.#startWithin(tries - 1))
    })
  }

  readonly #takeAnotherPort: Effect.Effect<void> = Effect.map(Effect.suspend(() => freePort), (port) => {
    this.#port = port
  })

  readonly #launch: Effect.Effect<void, string> = Effect.suspend(() => {
    const { parameters, programs: { postgres, user } } = this.#settings
    const { primaryPort, tls } = this.#settings
    const following = primaryPort === undefined
      ? undefined
      : { primary_conninfo: `host=127.0.0.1 port=${primaryPort} user=postgres application_name=replica_${this.port}` }
    const all = {
      ...standard,
      ssl: tls !== undefined,
      unix_socket_directories: this.folder,
      ...following,
      ...parameters
    }
    const flags = Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`])
    const log = openSync(this.#log, "a")
    this.#logBegin = fstatSync(log).size
    const server = spawn(postgres, ["-D", this.#data, "-p", String(this.port), "-h", "127.0.0.1", ...flags], {
      cwd: this.folder,
      stdio: ["ignore", log, log],
      ...user
    })
    closeSync(log)
    this.#process = server
    server.once("exit", () => {
      if (this.#process === server) this.#process = undefined
    })
    server.once("error", () => {})
    this.#guard ??= this.#watch()
    return Effect.onInterrupt(this.#ready(server), () => this.stop("immediate"))
  })

  /** Stops the server, and waits until it has ended. */
  readonly stop = (mode: StopMode): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      const server = this.#process
      if (server === undefined || server.exitCode !== null || server.signalCode !== null) return resume(Effect.void)
      server.once("exit", () => resume(Effect.void))
      server.kill(mode === "fast" ? "SIGINT" : "SIGQUIT")
    })

  /** Removes all that is left. */
  readonly remove: Effect.Effect<void> = Effect.sync(() => {
    this.#guard?.kill("SIGKILL")
    rmSync(this.folder, { recursive: true, force: true })
  })

  get #data(): string {
    return join(this.folder, "data")
  }

  get #log(): string {
    return join(this.folder, "log")
  }

  /** The server writes its state into a file. */
  #ready(server: ChildProcess): Effect.Effect<void, string> {
    const ask = Effect.suspend((): Effect.Effect<boolean, string> => {
      if (server.exitCode !== null || server.signalCode !== null || server.pid === undefined) {
        // The last line only says that it has ended.
        const lines = this.#lines
        const why = lines.findLast((line) => /\b(?:FATAL|PANIC):/.test(line)) ?? lines.at(-1)
        return Effect.fail(`the server has ended: ${why}`)
      }
      try {
        const lines = readFileSync(join(this.#data, "postmaster.pid"), "utf8").split("\n")
        // A replica that takes connections says "standby".
        const state = lines[7]?.trim()
        return Effect.succeed(lines[0] === String(server.pid) && (state === "ready" || state === "standby"))
      } catch {
        return Effect.succeed(false)
      }
    })
    const poll: Effect.Effect<void, string> = Effect.flatMap(
      ask,
      (isReady) => isReady ? Effect.void : Effect.andThen(pause, Effect.suspend(() => poll))
    )
    return poll
  }

  get #lines(): ReadonlyArray<string> {
    try {
      return readFileSync(this.#log).subarray(this.#logBegin).toString().trim().split("\n")
    } catch {
      return ["it has no log"]
    }
  }

  get #isPortTaken(): boolean {
    return this.#lines.some((line) => line.includes("Address already in use"))
  }

  /** A small process that stops the server and removes its folder, should this process be killed. */
  #watch(): ChildProcess {
    const script =
      "trap '' INT TERM HUP; cat > /dev/null; kill -QUIT \"$(head -n 1 \"$1/data/postmaster.pid\")\" 2> /dev/null; sleep 1; rm -rf \"$1\""
    const guard = spawn("sh", ["-c", script, "sh", this.folder], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true
    })
    guard.once("error", () => {})
    guard.unref()
    return guard
  }
}

/** How often a server tries to start whose port is taken. */
const mostTries = 20

/** Real time: the tests that use a server may have a clock of their own. */
export const pause: Effect.Effect<void> = Effect.callback<void>((resume) => {
  const timer = setTimeout(() => resume(Effect.void), 5)
  return Effect.sync(() => clearTimeout(timer))
})

/** A small server that need not survive a crash of the machine. */
const standard = {
  fsync: false,
  full_page_writes: false,
  shared_buffers: "16MB",
  max_connections: 100,
  dynamic_shared_memory_type: "mmap",
  // What a replica needs that was away for a moment.
  wal_keep_size: "256MB",
  // A replica asks for the log as soon as there is some.
  wal_retrieve_retry_interval: "100ms",
  log_min_messages: "warning",
  log_line_prefix: "%m [%p] "
}

/** Makes a folder for a server that its user owns. */
export const folderFor = ({ user }: Programs): string => {
  const folder = mkdtempSync(join(tmpdir(), "effect-connection-pool-postgres-"))
  chmodSync(folder, 0o700)
  if (user !== undefined) chownSync(folder, user.uid, user.gid)
  return folder
}

/** A port that is free now. */
export const freePort: Effect.Effect<number> = Effect.callback<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})
