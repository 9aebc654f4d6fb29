/** How long the disk takes: what a commit with `synchronous = full` cannot be faster than. */
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { summarize } from "../harness/summary.ts"

const pages = 50

/** The median time, in microseconds, of writing a page to a file where the databases are, and waiting for the disk. */
export const fsyncMicros = (): number => {
  const folder = mkdtempSync(join(tmpdir(), "bench-disk-"))
  const file = openSync(join(folder, "page"), "w")
  const page = new Uint8Array(4096)
  const took = Array.from({ length: pages }, () => {
    const startedAt = performance.now()
    writeSync(file, page)
    fsyncSync(file)
    return (performance.now() - startedAt) * 1000
  })
  closeSync(file)
  rmSync(folder, { recursive: true })
  return Math.round(summarize(took).median)
}
