/** Starts the thread of a connection, and notices when it ends. */
import { Worker } from "node:worker_threads"
import { show } from "../../../internal/options/show.ts"
import type { Recorder } from "../../../internal/pool/recorder.ts"
import { Failure, invalidInput } from "../failures.ts"
import type { Settings } from "../options/connection.ts"
import { nameOf } from "../options/nameOf.ts"
import { Host } from "./host.ts"
import type { Timeout } from "./pending.ts"
import { type Answers, mostRequests } from "./protocol.ts"
import type { ThreadData } from "./serve.ts"
import { Words } from "./word.ts"

export interface Thread {
  readonly host: Host
  /** Ends the thread. If SQLite runs a statement, the thread ends only after it, and nobody waits for that. */
  readonly terminate: () => Promise<unknown>
  /** Resolved when the thread has ended. */
  readonly ended: Promise<unknown>
}

export interface StartOptions {
  /** Called when the thread ends without having been closed. */
  readonly onDeath: () => void
  /** Records the statements of the connection. */
  readonly recorder: Recorder
  /** Not set: statements may run for ever. */
  readonly timeout: Timeout | undefined
}

/**
 * Starts a thread. Throws if it cannot be started, and a
 * `Failure` if the settings have what cannot be sent to a thread.
 */
export const start = (settings: Settings, { onDeath, recorder, timeout }: StartOptions): Thread => {
  const sent = sendable(settings)
  const words = new Words(mostRequests)
  const data: ThreadData = { settings: sent, words: words.shared, isMeasured: recorder.isMeasured }
  const { NODE_OPTIONS: _, ...env } = process.env
  const worker = new Worker(scriptOf(settings), {
    workerData: data,
    name: "effect-connection-pool",
    // Preloads of the application do not run there, neither those of its command line nor those of NODE_OPTIONS. A module
    // with functions finds there what it finds here.
    execArgv: [],
    env,
    trackUnmanagedFds: false
  })
  worker.unref()
  const ended = new Promise((resolve) => worker.on("exit", resolve))
  const host = new Host(
    {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- A thread has no origin.
      send: (requests) => worker.postMessage(requests),
      busy: (isBusy) => isBusy ? worker.ref() : worker.unref()
    },
    words,
    settings.statementCacheSize,
    recorder,
    timeout
  )
  const die = (why: string, cause: unknown) => {
    if (host.death !== undefined) return
    const message = `the thread of ${nameOf(settings)} has ended${why}`
    host.died(new Failure("connection", "thread", message, cause ?? new Error(message)))
    onDeath()
  }
  // A module of functions may send messages of its own.
  worker.on("message", (message: unknown) => isAnswers(message) && host.receive(message))
  worker.on("messageerror", (error: Error) => die(`: ${error.message}`, error))
  worker.on("error", (error: unknown) => die(`: ${error instanceof Error ? error.message : String(error)}`, error))
  worker.on("exit", (code: number) => die(code === 0 ? "" : ` with code ${code}`, undefined))
  return { host, terminate: () => worker.terminate(), ended }
}

const isAnswers = (message: unknown): message is Answers =>
  typeof message === "object" && message !== null && Array.isArray((message as Partial<Answers>).answers)

/** The settings without what cannot be sent. To leave functions out that are in no module would change what SQL means. */
const sendable = (settings: Settings): Settings => {
  const { extensions, functions, functionsFrom, lasting, onOpen } = settings
  const refuse = (what: string) => {
    throw invalidInput("open", `cannot open ${nameOf(settings)} in a thread: it has ${what}`)
  }
  if (functions !== undefined && functionsFrom === undefined) refuse("functions that are in no module")
  // Only the connection that keeps the changes of statements tells the others.
  if (lasting !== undefined && lasting.isReadOnly === settings.isReadOnly) refuse("lasting settings")
  // The thread does not see that there is an `onOpen`, which may load extensions.
  const allowed = extensions ?? (onOpen === undefined ? undefined : new Set<string>())
  return { ...settings, functions: undefined, onOpen: undefined, extensions: allowed }
}

/** The script of the threads, beside this file: in a bundle, beside the bundle. */
const scriptOf = (settings: Settings): URL => {
  const url = import.meta.url as string | undefined
  // Under Node's type stripping, the sources run as they are.
  const extension = /\.[cm]?[jt]s$/.exec(url ?? "")?.[0]
  if (url !== undefined && extension !== undefined) return new URL(`./threadMain${extension}`, url)
  throw invalidInput(
    "open",
    `cannot open ${nameOf(settings)} in a thread: the script of threads is not found, because import.meta.url is ` +
      `${show(url)}: bundle for ESM, into a file`
  )
}
