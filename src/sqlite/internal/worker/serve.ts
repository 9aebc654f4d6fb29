/** Runs a connection at the end of a port: in a thread, or in a test without one. */
import { load } from "../connection/functionsModule.ts"
import { Handle } from "../connection/handle.ts"
import { refuseIncomplete } from "../connection/immutable.ts"
import { refuseStrayLog } from "../connection/strayLog.ts"
import type { Settings } from "../options/connection.ts"
import type { Answers, Request } from "./protocol.ts"
import { Server } from "./server.ts"
import { Words } from "./word.ts"

/** What a thread gets when it starts. */
export interface ThreadData {
  readonly settings: Settings
  readonly words: SharedArrayBuffer
  /** Whether the time of each request is told. */
  readonly isMeasured: boolean
}

/** The part of a message port that is used. */
export interface Port {
  readonly postMessage: (answers: Answers) => void
  readonly on: (event: "message", listener: (requests: ReadonlyArray<Request>) => void) => unknown
  readonly close: () => void
}

export const serve = (port: Port, { isMeasured, settings, words }: ThreadData): void => {
  const begin = (settings: Settings) => {
    const server = new Server({
      words: new Words(words),
      open: (isFirst) => {
        if (settings.isImmutable) refuseIncomplete(settings)
        else if (isFirst && !settings.isMemory) refuseStrayLog(settings)
        return new Handle(settings)
      },
      send: (answers) => port.postMessage(answers),
      now: () => performance.now(),
      isMeasured,
      onClose: () => port.close()
    })
    port.on("message", (requests) => server.receive(requests))
  }
  const { functionsFrom } = settings
  if (functionsFrom === undefined) begin(settings)
  // If it cannot be loaded, the thread ends with the error. What was sent meanwhile waits in the port.
  else void load(functionsFrom).then((functions) => begin({ ...settings, functions }))
}
