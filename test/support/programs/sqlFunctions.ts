/** SQL functions that threads load. */
import { existsSync, writeFileSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { isMainThread, parentPort } from "node:worker_threads"

/** A statement that seems to read, and that a reader in a thread refuses as a write. */
export const refused = "select writes(1)"

if (!isMainThread) {
  const real = DatabaseSync.prototype.prepare
  DatabaseSync.prototype.prepare = function(sql, options) {
    if (sql !== refused) return real.call(this, sql, options)
    throw Object.assign(new Error("attempt to write a readonly database"), { code: "ERR_SQLITE_ERROR", errcode: 8 })
  }
}

const sleeper = new Int32Array(new SharedArrayBuffer(4))

export const functions = {
  /** Makes a file, and waits in the middle of the statement until there is another, or until the first is gone. */
  held: (path: unknown) => {
    const begun = `${String(path)}.begun`
    writeFileSync(begun, "")
    while (!existsSync(`${String(path)}.go`) && existsSync(begun)) Atomics.wait(sleeper, 0, 0, 1)
    return 1
  },
  twice: [
    { deterministic: true, run: (value: unknown) => Number(value) * 2 },
    (a: unknown, b: unknown) => `${String(a)}${String(b)}`.repeat(2)
  ],
  is_main: () => isMainThread,
  environment: (name: unknown) => process.env[String(name)] ?? null,
  writes: (n: unknown) => Number(n),
  fail: () => {
    throw new RangeError("not today")
  },
  /** Sends messages of its own. */
  post: () => {
    for (const message of [null, "x", { answers: 1 }, [1]]) parentPort?.postMessage(message)
    return 1
  },
  /** Ends the thread in the middle of a statement. */
  crash: () => process.exit(3)
}

export const aggregates = {
  product: {
    start: () => 1,
    step: (product: unknown, factor: unknown) => Number(product) * Number(factor),
    result: (product: unknown) => Number(product)
  }
}
