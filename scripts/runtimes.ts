/**
 * Runs what a user would run on the other runtimes: five examples, whose output is compared, and the HTTP service, which
 * is asked and stopped. Says of each what holds, and of a runtime that cannot be had, that it cannot.
 *
 *     npm run runtimes
 *     npm run runtimes -- bun
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { claimOf, difference } from "./printed.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const bin = join(root, "runtimes/node_modules/.bin")

/** How each of them runs a file. */
const runtimes: Readonly<Record<string, ReadonlyArray<string>>> = {
  node: [],
  bun: [],
  deno: ["run", "--allow-all"]
}

const examples = [
  "quick-start",
  "transactions-and-savepoints",
  "migrations-and-a-model",
  "testing-with-a-temporary-database",
  "readers-beside-a-long-writer"
]

const deadlineMillis = 60_000

/** What is wrong with an example on a runtime, if anything. */
const runExample = (command: string, flags: ReadonlyArray<string>, name: string): string | undefined => {
  const file = join(root, "examples", `${name}.ts`)
  const { error, signal, status, stderr, stdout } = spawnSync(command, [...flags, file], {
    cwd: root,
    encoding: "utf8",
    timeout: deadlineMillis
  })
  if (error !== undefined) return error.message
  if (status !== 0) return `exit code ${status ?? signal}: ${stderr.trim().split("\n").slice(0, 3).join(" ")}`
  const claim = claimOf(readFileSync(file, "utf8"))
  return claim === undefined ? "it does not say what it prints" : difference(claim, stdout)
}

/** The address at which the service listens, once it does. */
const listening = (service: ChildProcess): Promise<string> =>
  new Promise((resolve, reject) => {
    const lines: Array<string> = []
    for (const output of [service.stdout!, service.stderr!]) {
      createInterface(output).on("line", (line) => {
        lines.push(line)
        const [, port] = /Listening on http:\/\/\S+?:(\d+)/.exec(line) ?? []
        if (port !== undefined) resolve(`http://localhost:${port}`)
      })
    }
    service.once("exit", (code) => reject(new Error(`it ended with ${code}: ${lines.slice(0, 3).join(" ")}`)))
    service.once("error", reject)
  })

const withDeadline = <A>(what: string, promise: Promise<A>): Promise<A> =>
  Promise.race([
    promise,
    setTimeout(deadlineMillis, undefined, { ref: false }).then(() => Promise.reject(new Error(`${what}: no end`)))
  ])

/** Stores a note, reads it, asks how it is, and stops it: what is wrong with the service, if anything. */
const runService = async (command: string, flags: ReadonlyArray<string>): Promise<string | undefined> => {
  const folder = mkdtempSync(join(tmpdir(), "runtimes-"))
  const service = spawn(command, [...flags, join(root, "examples/http-service/server.ts")], {
    cwd: folder,
    env: { ...process.env, PORT: "0", STOP_GRACE: "0 millis", TMPDIR: folder },
    stdio: ["ignore", "pipe", "pipe"]
  })
  const ended = new Promise<number | null>((resolve) => service.once("exit", resolve))
  try {
    const url = await withDeadline("to start", listening(service))
    const headers = { "content-type": "application/json" }
    const stored = await fetch(`${url}/notes`, { method: "POST", headers, body: JSON.stringify({ text: "here" }) })
    const notes = await (await fetch(`${url}/notes`)).json() as ReadonlyArray<{ readonly text: string }>
    const health = await (await fetch(`${url}/health`)).json() as { readonly status: string }
    service.kill("SIGTERM")
    const code = await withDeadline("to stop", ended)
    const found = JSON.stringify([stored.status, notes.map(({ text }) => text), health.status, code])
    const expected = JSON.stringify([201, ["here"], "healthy", 0])
    return found === expected ? undefined : `it gave ${found}, not ${expected}`
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  } finally {
    service.kill("SIGKILL")
    rmSync(folder, { recursive: true, force: true })
  }
}

let failed = 0
const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(runtimes)
for (const name of wanted) {
  const flags = runtimes[name]
  const command = join(bin, name)
  if (flags === undefined) {
    console.error(`there is no runtime called ${name}; there are ${Object.keys(runtimes).join(", ")}`)
    process.exit(1)
  }
  const version = existsSync(command)
    ? spawnSync(command, ["--version"], { encoding: "utf8" }).stdout?.trim().split("\n")[0]
    : undefined
  if (version === undefined || version === "") {
    console.log(`${name}: cannot be had on this machine, so nothing is known of it`)
    continue
  }
  console.log(`${name} (${version})`)
  const check = (what: string, wrong: string | undefined) => {
    if (wrong !== undefined) failed++
    console.log(`  ${wrong === undefined ? "✓" : "✗"} ${what}${wrong === undefined ? "" : `: ${wrong}`}`)
  }
  for (const example of examples) check(example, runExample(command, flags, example))
  // One after the other: they would disturb each other's times.
  // oxlint-disable-next-line no-await-in-loop
  check("http-service", await runService(command, flags))
}
process.exitCode = failed === 0 ? 0 : 1
