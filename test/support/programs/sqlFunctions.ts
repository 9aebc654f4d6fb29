/** SQL functions that threads load. */
import { existsSync, writeFileSync } from "node:fs"
import { isMainThread } from "node:worker_threads"

const sleeper = new Int32Array(new SharedArrayBuffer(4))

export const functions = {
  /** Makes a file, and waits in the middle of the statement until there is another. */
  held: (path: unknown) => {
    writeFileSync(`${String(path)}.begun`, "")
    while (!existsSync(`${String(path)}.go`)) Atomics.wait(sleeper, 0, 0, 1)
    return 1
  },
  twice: [
    { deterministic: true, run: (value: unknown) => Number(value) * 2 },
    (a: unknown, b: unknown) => `${String(a)}${String(b)}`.repeat(2)
  ],
  is_main: () => isMainThread,
  fail: () => {
    throw new RangeError("not today")
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
