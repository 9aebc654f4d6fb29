import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { Agent, request } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const path = (file: string) => fileURLToPath(new URL(file, import.meta.url))
const flags = ["--import", path("process/source.ts")]

interface Service {
  readonly url: string
  readonly file: string
  /** Everything it has printed so far. */
  readonly lines: ReadonlyArray<string>
  readonly process: ChildProcess
  /** Its exit code, once it has ended. */
  readonly exit: Promise<number | null>
}

/** Runs the example as a process of its own, on a file of its own. */
const withService = async (body: (service: Service) => Promise<void>): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), "http-service-"))
  const file = join(folder, "notes.db")
  const child = spawn(process.execPath, [...flags, path("../examples/http-service/server.ts")], {
    env: {
      ...process.env,
      PORT: "0",
      NOTES_FILE: file,
      DB_HEALTH_INTERVAL: "200ms",
      STOP_GRACE: "1 second"
    },
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
    await body({ url, file, lines, process: child, exit })
  } finally {
    child.kill("SIGKILL")
    await exit
    rmSync(folder, { recursive: true, force: true })
  }
}

interface Answer {
  readonly status: number
  readonly isLast: boolean
  readonly text: string
}

/** One request; fails if there is no complete answer. */
const ask = (agent: Agent, url: string, body?: string): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "content-type": "application/json" }
    const sent = request(url, { agent, method: body === undefined ? "GET" : "POST", headers }, (response) => {
      let text = ""
      response.setEncoding("utf8")
      response.on("data", (chunk) => text += chunk)
      response.on("end", () =>
        resolve({ status: response.statusCode!, isLast: response.headers.connection === "close", text }))
      response.on("error", reject)
    })
    sent.on("error", reject)
    sent.end(body)
  })

const json = async (agent: Agent, url: string) => JSON.parse((await ask(agent, url)).text) as Record<string, unknown>

describe("the HTTP service", () => {
  it("answers, and shows its health, its metrics and its pool", () =>
    withService(async ({ url }) => {
      const agent = new Agent({ keepAlive: true })
      const stored = await ask(agent, `${url}/notes`, JSON.stringify({ text: "first" }))
      assert.deepStrictEqual([stored.status, JSON.parse(stored.text)], [201, { id: 1 }])
      assert.deepStrictEqual(JSON.parse((await ask(agent, `${url}/notes`)).text), [{ id: 1, text: "first" }])
      assert.strictEqual((await ask(agent, `${url}/notes`, `{"text": 5}`)).status, 400)
      const health = await ask(agent, `${url}/health`)
      assert.strictEqual(health.status, 200)
      assert.include(JSON.parse(health.text), { pool: "notes", status: "healthy", isStopping: false })
      const pool = await json(agent, `${url}/pool`)
      assert.deepInclude(pool["stats"], { pool: "notes", max: 4, inUse: 0 })
      assert.deepStrictEqual(pool["holders"], [])
      const metrics = (await ask(agent, `${url}/metrics`)).text
      assert.match(metrics, /^db_client_connection_max\{db_client_connection_pool_name="notes"\} 4$/m)
      assert.match(metrics, /^effect_connection_pool_health\{[^}]*status="healthy"\} 1$/m)
      agent.destroy()
    }), 60_000)

  it("degrades while the database is locked from outside, and recovers", () =>
    withService(async ({ file, url }) => {
      const load = path("../examples/http-service/load.ts")
      const options = ["--url", url, "--file", file, "--clients", "30", "--seconds", "7", "--lock-for", "3"]
      const output = await new Promise<string>((resolve) =>
        execFile(process.execPath, [...flags, load, ...options], (error, stdout, stderr) =>
          resolve(`${stdout}${stderr}exit code ${error === null ? 0 : String(error.code)}`))
      )
      const claims = output.split("\n").filter((line) =>
        /^[✓✗]/.test(line)
      )
      assert.deepStrictEqual(claims, [
        "✓ every request was answered",
        "✓ the service said that it was not well",
        "✓ and that it was well again"
      ], output)
      assert.match(output, /^degraded Callers/m)
      assert.match(output, /exit code 0$/)
    }), 90_000)

  it(
    "stopped in the middle of its work, with the database locked, answers everything it was asked",
    () =>
      withService(async ({ exit, file, lines, process: service, url }) => {
        const agent = new Agent({ keepAlive: true })
        await ask(agent, `${url}/notes`, JSON.stringify({ text: "before" }))
        const lock = spawn(process.execPath, [path("../examples/http-service/lock.ts"), file, "1.5"])
        await once(lock.stdout, "data")
        const unlocked = once(lock, "close")
        const answers: Array<number> = []
        /** Asks again and again on one connection, until it is told to hang up. */
        const client = (place: number) =>
          Effect.gen(function*() {
            const clients = new Agent({ keepAlive: true, maxSockets: 1 })
            for (let count = 0;; count++) {
              const body = (place + count) % 3 === 0 ? JSON.stringify({ text: "under load" }) : undefined
              const { isLast, status } = yield* Effect.promise(() => ask(clients, `${url}/notes`, body))
              answers.push(status)
              if (isLast) return clients.destroy()
            }
          })
        const clients = Effect.runPromiseExit(
          Effect.forEach(Array.from({ length: 30 }, (_, place) => place), client, { concurrency: "unbounded" })
        )
        // Until all connections are held by those who wait for the lock, and others wait for them.
        const waiting = Effect.map(Effect.promise(() => json(agent, `${url}/pool`)), ({ stats }) =>
          (stats as { readonly waiting: number }).waiting)
        await Effect.runPromise(Effect.repeat(waiting, {
          while: (waiting) =>
            waiting < 10
        }))
        service.kill("SIGTERM")
        await Effect.runPromise(Effect.repeat(Effect.yieldNow, { while: () => !lines.includes("stopping") }))
        const health = await ask(agent, `${url}/health`)
        assert.deepStrictEqual([health.status, (JSON.parse(health.text) as Record<string, unknown>)["isStopping"]], [
          503,
          true
        ])
        const end = await clients
        agent.destroy()
        assert.strictEqual(await exit, 0)
        await unlocked
        assert.isTrue(Exit.isSuccess(end), JSON.stringify(end))
        assert.isAtLeast(answers.length, 30)
        assert.deepStrictEqual(answers.filter((status) => ![200, 201, 503].includes(status)), [])
        assert.include(lines, `pool closed: {"returned":0,"interrupted":0,"abandoned":0}`)
      }),
    60_000
  )
})
