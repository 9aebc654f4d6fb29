/** The thread of the floor: answers what comes in one message in one message. */
import { parentPort, workerData } from "node:worker_threads"
import { type Asked, floorReader } from "./floorReader.ts"

const reader = floorReader(workerData as string)

parentPort!.on("message", (asked: ReadonlyArray<Asked>) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- A thread has no origin.
  parentPort!.postMessage(asked.map((one) => reader.answer(one)))
})
