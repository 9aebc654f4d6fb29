/** Both sides of a connection in a thread, without the thread. Messages are cloned as between threads. */
import { Result } from "effect"
import { MessageChannel } from "node:worker_threads"
import { resolve } from "../../src/sqlite/internal/options/connection.ts"
import { Host } from "../../src/sqlite/internal/worker/host.ts"
import type { Receiver, Statement } from "../../src/sqlite/internal/worker/pending.ts"
import {
  type Answers,
  type ControlName,
  type Controls,
  mostRequests
} from "../../src/sqlite/internal/worker/protocol.ts"
import { serve } from "../../src/sqlite/internal/worker/serve.ts"
import { Words } from "../../src/sqlite/internal/worker/word.ts"

export const settingsOf = (options: object) => Result.getOrThrow(resolve(options))

/** What became of a request. */
export type Outcome =
  | {
    readonly tag: "ended"
    readonly value: unknown
    readonly rows: ReadonlyArray<ReadonlyArray<unknown>>
    readonly columns: ReadonlyArray<string>
    /** The number of rows in each message. */
    readonly chunks: ReadonlyArray<number>
  }
  | { readonly tag: "failed"; readonly thrown: unknown; readonly isUnknown: boolean }
  | { readonly tag: "cancelled" }

export interface Pair extends AsyncDisposable {
  readonly host: Host
  readonly words: Words
  /** The messages that the thread has sent. */
  readonly messages: Array<Answers>
  readonly statement: (statement: Partial<Statement> & { readonly sql: string }) => Promise<Outcome>
  readonly control: <Name extends ControlName>(name: Name, ...params: Parameters<Controls[Name]>) => Promise<Outcome>
}

/** A receiver that takes all rows, and the promise of the outcome. */
export const collecting = (credit: () => void): { readonly receiver: Receiver; readonly outcome: Promise<Outcome> } => {
  const { promise, resolve } = Promise.withResolvers<Outcome>()
  const all: Array<ReadonlyArray<unknown>> = []
  const chunks: Array<number> = []
  let names: ReadonlyArray<string> = []
  return {
    outcome: promise,
    receiver: {
      rows: (rows, columns) => {
        all.push(...rows)
        chunks.push(rows.length)
        names = columns
        credit()
      },
      ended: (value) => resolve({ tag: "ended", value, rows: all, columns: names, chunks }),
      failed: (thrown, isUnknown) => resolve({ tag: "failed", thrown, isUnknown }),
      cancelled: () => resolve({ tag: "cancelled" })
    }
  }
}

export const pairOf = async (options: object = { filename: ":memory:" }): Promise<Pair> => {
  const settings = settingsOf(options)
  const { port1, port2 } = new MessageChannel()
  const words = new Words(mostRequests)
  serve(port2, { settings, words: words.shared, isMeasured: false })
  const host = new Host({ send: (requests) => port1.postMessage(requests), busy: () => {} }, words, 20)
  const messages: Array<Answers> = []
  port1.on("message", (answers: Answers) => {
    messages.push(answers)
    host.receive(answers)
  })
  const statement: Pair["statement"] = (given) => {
    const { outcome, receiver } = collecting(() => host.credit(pending, 1))
    const pending = host.statement({
      operation: "query",
      way: "rows",
      params: undefined,
      bigInts: false,
      isAlone: false,
      isStream: false,
      mayStore: true,
      ...given
    }, receiver)
    return outcome
  }
  const control: Pair["control"] = (name, ...params) => {
    const { outcome, receiver } = collecting(() => {})
    host.control(name, params, receiver)
    return outcome
  }
  const opened = await control("open", true, false)
  if (opened.tag !== "ended") throw new Error("it was not opened", { cause: opened })
  return {
    host,
    words,
    messages,
    statement,
    control,
    [Symbol.asyncDispose]: async () => {
      await control("close")
      port1.close()
    }
  }
}
