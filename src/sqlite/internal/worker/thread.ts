/** Starts the thread of a connection, and notices when it ends. */
import { Worker } from "node:worker_threads"
import { Failure, invalidInput } from "../failures.ts"
import type { Settings } from "../options/connection.ts"
import { nameOf } from "../options/nameOf.ts"
import { Host } from "./host.ts"
import { type Answers, mostRequests } from "./protocol.ts"
import type { ThreadData } from "./serve.ts"
import { Words } from "./word.ts"

export interface Thread {
  readonly host: Host
  /** Ends the thread. If SQLite runs a statement, the thread ends only after it, and nobody waits for that. */
  readonly terminate: () => void
}

/**
 * Starts a thread. `onDeath` is called when it ends without having been closed. Throws if it cannot be started, and a
 * `Failure` if the settings have what cannot be sent to a thread.
 */
export const start = (settings: Settings, onDeath: () => void): Thread => {
  refuseFunctions(settings)
  const words = new Words(mostRequests)
  const data: ThreadData = { settings, words: words.shared }
  const worker = new Worker(script, {
    workerData: data,
    name: "effect-connection-pool",
    // Preloads of the application do not run there, neither those of its command line nor those of NODE_OPTIONS.
    execArgv: [],
    env: {},
    trackUnmanagedFds: false
  })
  worker.unref()
  const host = new Host(
    {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- A thread has no origin.
      send: (requests) => worker.postMessage(requests),
      busy: (isBusy) => isBusy ? worker.ref() : worker.unref()
    },
    words,
    settings.statementCacheSize
  )
  const die = (why: string, cause: unknown) => {
    if (host.death !== undefined) return
    const message = `the thread of ${nameOf(settings)} has ended${why}`
    host.died(new Failure("connection", "thread", message, cause ?? new Error(message)))
    onDeath()
  }
  worker.on("message", (answers: Answers) => host.receive(answers))
  worker.on("messageerror", (error: Error) => die(`: ${error.message}`, error))
  worker.on("error", (error: unknown) => die(`: ${error instanceof Error ? error.message : String(error)}`, error))
  worker.on("exit", (code: number) => die(code === 0 ? "" : ` with code ${code}`, undefined))
  return { host, terminate: () => void worker.terminate() }
}

/** Functions cannot be sent. To leave them out would change what statements mean. */
const refuseFunctions = (settings: Settings): void => {
  const { functions, lasting, onOpen } = settings
  const given = Object.entries({ "functions or aggregates": functions, onOpen, "lasting settings": lasting })
    .filter(([, value]) => value !== undefined)
    .map(([name]) => name)
  if (given.length === 0) return
  throw invalidInput("open", `cannot open ${nameOf(settings)} in a thread: it has ${given.join(" and ")}`)
}

/** Under Node's type stripping, the sources run as they are. */
const script = new URL(`./threadMain${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`, import.meta.url)
