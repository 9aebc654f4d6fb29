/**
 * Scripts in a transaction, in the thread: they can be cancelled between two of their statements, and then nothing of them is
 * left. Outside of a transaction, each statement of a script is committed by itself, so a script there runs to its end.
 */
import type { Handle } from "../connection/handle.ts"
import * as SqlText from "../sql/scanner.ts"
import type { Controller } from "./controller.ts"
import type { ControlRequest, Executed } from "./protocol.ts"
import * as Unit from "./unit.ts"
import type { Words } from "./word.ts"

export type ScriptRequest = ControlRequest<"exec">

/** Whether a request is a script that can be undone as a whole. One that ends savepoints could end that of the library. */
export const isUndoable = (handle: () => Handle, request: ControlRequest): request is ScriptRequest => {
  if (request.name !== "exec") return false
  const [operation, script] = (request as ScriptRequest).params
  return handle().isTransaction(operation) && typeof script === "string" && !SqlText.read(script).controlsTransaction
}

/** Runs a script that can be undone. Returns `undefined` if it was cancelled: then nothing of it is left. */
export const run = (controller: Controller, words: Words, request: ScriptRequest): Executed | undefined => {
  const { id, params: [operation, script, done] } = request
  const { handle } = controller
  if (words.isCancelled(id)) return undefined
  Unit.begin(handle, "savepoint", operation)
  const executed = controller.exec(operation, script, done, () => words.isCancelled(id))
  if (words.commit(id)) {
    Unit.end(handle, "savepoint", operation)
    return executed
  }
  Unit.undo(handle, "savepoint")
  return undefined
}
