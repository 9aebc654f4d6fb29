/** The example http-service, as a process of its own. */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

/** The path of a file, from this folder on. */
export const path = (file: string) => fileURLToPath(new URL(file, import.meta.url))

/** The flags with which Node runs a program of this project from its sources. */
export const flags = ["--import", path("programs/source.ts")]

export interface Service {
  readonly url: string
  /** The folder it was started in. */
  readonly folder: string
  /** Everything it has printed so far. */
  readonly lines: ReadonlyArray<string>
  readonly process: ChildProcess
  /** Its exit code, once it has ended. */
  readonly exit: Promise<number | null>
}

/** Runs the example as a process of its own, started in an empty folder. */
export const withService = async (
  env: Readonly<Record<string, string>>,
  body: (service: Service) => Promise<void>
): Promise<void> => {
  const parent = mkdtempSync(join(tmpdir(), "http-service-"))
  const folder = join(parent, "here")
  mkdirSync(folder)
  const child = spawn(process.execPath, [...flags, path("../../examples/http-service/server.ts")], {
    cwd: folder,
    env: { ...process.env, PORT: "0", TMPDIR: parent, ...env },
    stdio: ["ignore", "pipe", "inherit"]
  })
  const exit = once(child, "close").then(([code]) => code as number | null)
  try {
    const lines: Array<string> = []
    const reader = createInterface(child.stdout)
    const url = await new Promise<string>((resolve, reject) => {
      reader.on("line", (line) => {
        lines.push(line)
        const [, port] = /Listening on http:\/\/\S+:(\d+)/.exec(line) ?? []
        if (port !== undefined) resolve(`http://localhost:${port}`)
      })
      exit.then((code) => reject(new Error(`the service ended with ${code}: ${lines.join("\n")}`)), reject)
    })
    await body({ url, folder, lines, process: child, exit })
  } finally {
    child.kill("SIGKILL")
    await exit
    rmSync(parent, { recursive: true, force: true })
  }
}

/** Runs a program of the example against a service. Gives what it says, and how it ended. */
export const runClient = (program: string, url: string, ...options: ReadonlyArray<string>): Promise<string> =>
  new Promise((resolve) =>
    execFile(
      process.execPath,
      [...flags, path(`../../examples/http-service/${program}`), "--url", url, ...options],
      (error, stdout, stderr) => resolve(`${stdout}${stderr}exit code ${error === null ? 0 : String(error.code)}`)
    )
  )

/** The lines of what such a program says in the end, each of which holds or not. */
export const claims = (output: string): ReadonlyArray<string> => output.split("\n").filter((line) => /^[✓✗]/.test(line))
