import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

/**
 * Runs a program of its own and gives what it wrote; one that does not end by itself fails the test. How long that is waited
 * for is real time: no other clock says that a process will not end.
 */
const run = async (program: string, ...args: ReadonlyArray<string>) => {
  const path = fileURLToPath(new URL(`./support/programs/${program}.ts`, import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [path, ...args], { timeout: 120_000 })
  return stdout
}

describe("a process with a pool", () => {
  it("ends by itself after the scope of the pool has closed", async () => {
    assert.strictEqual(await run("idle", "close"), "[]")
  }, 130_000)

  it("ends by itself although the pool is open, because an idle pool has no timer that keeps the process", async () => {
    assert.strictEqual(await run("idle"), "[]")
  }, 130_000)

  it("of SQLite connections ends by itself, whether it is closed or not", async () => {
    assert.strictEqual(await run("database", "close"), "[]")
    assert.strictEqual(await run("database"), "[]")
  }, 250_000)

  it("stays until the deadline of a waiting caller, with nothing else to do", async () => {
    assert.strictEqual(await run("exhausted"), "AcquireTimeoutError")
  }, 130_000)

  it("stays for a caller that comes while a timer runs that does not keep the process", async () => {
    assert.strictEqual(await run("awaited"), "AcquireTimeoutError")
  }, 130_000)

  it("stays until a connection that is closing has closed", async () => {
    assert.strictEqual(await run("closing"), "closed")
  }, 130_000)

  it("ends by itself although a connection is abandoned, and closes within its deadline", async () => {
    assert.strictEqual(await run("abandoned"), "1")
    assert.match(await run("abandoned", "close"), /WARN .* is not waited for: connection 1: .*\n0$/)
  }, 250_000)

  it("has one timer for a thousand deadlines, however they differ", async () => {
    assert.strictEqual(await run("deadlines"), "1000 waiting, 1 timer; 1000 timed out, 0 timers")
  }, 130_000)
})
