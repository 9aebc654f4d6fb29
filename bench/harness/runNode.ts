import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { text } from "node:stream/consumers"
import { fromJson, toJson } from "./json.ts"

/**
 * Runs a script in a process of its own, which gets its task as JSON and prints its result as JSON. `node` is the Node
 * that runs it: by default the one that runs this.
 */
export const runNode = async <A>(
  flags: ReadonlyArray<string>,
  script: string,
  task: unknown,
  node = process.execPath
): Promise<A> => {
  const given = toJson(task)
  const child = spawn(node, [...flags, script, given], { stdio: ["ignore", "pipe", "inherit"] })
  const [printed, [code]] = await Promise.all([text(child.stdout), once(child, "close")])
  assert.equal(code, 0, `${script} failed with ${given}`)
  return fromJson<A>(printed)
}
