import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { Agent, request } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { claims, path, runClient, withService } from "./support/httpService.ts"

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

const load = (url: string, ...options: ReadonlyArray<string>) =>
  runClient("load.ts", url, "--clients", "30", ...options)

const verdict = [
  "✓ every request was answered",
  "✓ reads went on while another process had the lock",
  "✓ the service said that it was not well",
  "✓ and that it was well again"
]

/** On a slow machine, too, callers wait until the lock is gone, and the service answers for a while when it was told to stop. */
const patient = { NOTES_ACQUIRE_TIMEOUT: "30 seconds", NOTES_BUSY_TIMEOUT: "30 seconds", STOP_GRACE: "4 seconds" }

const statusOfInspector = (url: string, authorization?: string) =>
  fetch(`${url}/inspector`, { headers: authorization === undefined ? {} : { authorization } }).then(({ status }) =>
    status
  )

const basic = (password: string) => `Basic ${Buffer.from(`operator:${password}`).toString("base64")}`

describe("the HTTP service", () => {
  it("shows the inspector to those who know its password, and has none without a password", async () => {
    await withService({ NOTES_INSPECTOR_PASSWORD: "open sesame" }, async ({ url }) => {
      assert.deepStrictEqual(
        [
          await statusOfInspector(url),
          await statusOfInspector(url, basic("wrong")),
          await statusOfInspector(url, basic("open sesame"))
        ],
        [401, 401, 200]
      )
    })
    await withService({}, async ({ url }) => {
      assert.strictEqual(await statusOfInspector(url, basic("open sesame")), 404)
    })
  }, 120_000)

  it("answers, and shows its health, its metrics and its database", () =>
    withService({}, async ({ url }) => {
      const agent = new Agent({ keepAlive: true })
      const stored = await ask(agent, `${url}/notes`, JSON.stringify({ text: "first" }))
      assert.strictEqual(stored.status, 201)
      const note = JSON.parse(stored.text) as {
        readonly id: number
        readonly text: string
        readonly created_at: string
      }
      assert.deepStrictEqual({ ...note, created_at: "" }, { id: 1, text: "first", created_at: "" })
      assert.isTrue(Math.abs(Date.parse(note.created_at) - Date.now()) < 3_600_000, note.created_at)
      assert.deepStrictEqual(JSON.parse((await ask(agent, `${url}/notes`)).text), [note])
      const wrong = await Promise.all(
        [`{"text": 5}`, `{"text": ""}`, `{}`, `{`].map((body) => ask(agent, `${url}/notes`, body))
      )
      assert.deepStrictEqual(wrong.map(({ status }) => status), [400, 400, 400, 400])
      const health = await ask(agent, `${url}/health`)
      assert.strictEqual(health.status, 200)
      const report = JSON.parse(health.text) as Record<string, unknown>
      assert.include(report, { pool: "notes", status: "healthy", isStopping: false })
      assert.deepStrictEqual(Object.keys(report["sides"] as object), ["writer", "readers", "workers"])
      const pool = await json(agent, `${url}/pool`)
      const { readers, workers, writer } = pool["stats"] as Record<string, unknown>
      assert.deepInclude(writer, { pool: "notes/writer", max: 1, inUse: 0 })
      assert.deepInclude(readers, { pool: "notes/readers", max: 4, inUse: 0 })
      assert.deepInclude(workers, { pool: "notes/workers", max: 1, inUse: 0 })
      assert.deepStrictEqual(pool["holders"], { writer: [], readers: [], workers: [] })
      const metrics = (await ask(agent, `${url}/metrics`)).text
      assert.match(metrics, /^db_client_connection_max\{db_client_connection_pool_name="notes\/readers"\} 4$/m)
      for (const name of ["notes", "notes/writer", "notes/readers", "notes/workers"]) {
        const shown = `effect_connection_pool_health{db_client_connection_pool_name="${name}",status="healthy"} 1`
        assert.include(metrics.split("\n"), shown)
      }
      agent.destroy()
    }), 120_000)

  it(
    "leaves nothing behind: without NOTES_FILENAME, its database is in a temporary folder",
    () =>
      withService({ STOP_GRACE: "0 millis" }, async ({ exit, folder, process: service, url }) => {
        const agent = new Agent()
        const { filename } = await json(agent, `${url}/pool`)
        await ask(agent, `${url}/notes`, JSON.stringify({ text: "gone soon" }))
        assert.isTrue(existsSync(filename as string))
        service.kill("SIGTERM")
        assert.strictEqual(await exit, 0)
        assert.deepStrictEqual(readdirSync(folder), [])
        assert.deepStrictEqual(readdirSync(join(folder, "..")), ["here"])
      }),
    120_000
  )

  it("keeps what it stored in the file that NOTES_FILENAME names", async () => {
    const parent = mkdtempSync(join(tmpdir(), "notes-kept-"))
    const env = { NOTES_FILENAME: join(parent, "kept.db"), STOP_GRACE: "0 millis" }
    try {
      const store = (id: number) =>
        withService(env, async ({ exit, process: service, url }) => {
          const { text } = await ask(new Agent(), `${url}/notes`, JSON.stringify({ text: "kept" }))
          assert.strictEqual((JSON.parse(text) as { readonly id: number }).id, id)
          service.kill("SIGTERM")
          assert.strictEqual(await exit, 0)
          // The log is in the file, and gone.
          assert.deepStrictEqual(readdirSync(parent), ["kept.db"])
        })
      await store(1)
      await store(2)
    } finally {
      rmSync(parent, { recursive: true, force: true })
    }
  }, 120_000)

  it(
    "degrades while the database is locked from outside, goes on reading, and recovers",
    () =>
      withService({}, async ({ url }) => {
        const output = await load(url, "--lock-for", "3")
        assert.deepStrictEqual(claims(output), verdict, output)
        assert.match(output, /^degraded writer: Callers/m)
        assert.notMatch(output, /readers: \w/)
        assert.match(output, /exit code 0$/)
      }),
    120_000
  )

  it(
    "is seen to do so too where its checks are further apart than the lock is long",
    () =>
      withService({ NOTES_HEALTH_INTERVAL: "4 seconds" }, async ({ url }) => {
        const output = await load(url, "--lock-for", "1")
        assert.deepStrictEqual(claims(output), verdict, output)
        assert.match(output, /exit code 0$/)
      }),
    120_000
  )

  it(
    "that never says how it is makes the load fail",
    () =>
      withService({ NOTES_HEALTH_INTERVAL: "1 hour" }, async ({ url }) => {
        const output = await load(url, "--lock-for", "1", "--patience", "2")
        assert.deepStrictEqual(claims(output).map((line) => line[0]), ["✓", "✓", "✗", "✗"], output)
        assert.match(output, /exit code 1$/)
      }),
    120_000
  )

  it(
    "stopped in the middle of its work, with the database locked, answers everything it was asked",
    () =>
      withService(patient, async ({ exit, lines, process: service, url }) => {
        const agent = new Agent({ keepAlive: true })
        const { filename: file } = await json(agent, `${url}/pool`)
        await ask(agent, `${url}/notes`, JSON.stringify({ text: "before" }))
        const lock = spawn(process.execPath, [path("../../examples/http-service/lock.ts"), file as string])
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
        // Until one waits for the lock, and others wait for that one.
        const waiting = Effect.map(Effect.promise(() => json(agent, `${url}/pool`)), ({ stats }) =>
          (stats as { readonly writer: { readonly waiting: number } }).writer.waiting)
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
        lock.kill("SIGKILL")
        const end = await clients
        agent.destroy()
        assert.strictEqual(await exit, 0)
        await unlocked
        assert.isTrue(Exit.isSuccess(end), JSON.stringify(end))
        assert.isAtLeast(answers.length, 30)
        assert.deepStrictEqual(answers.filter((status) => ![200, 201, 503].includes(status)), [])
        // Some of them were answered while the service was about to stop, and all who waited for the lock.
        assert.include(answers, 201)
        const nothing = `{"returned":0,"interrupted":0,"revoked":0,"abandoned":[],"closeTimeouts":0}`
        assert.include(lines, `database closed: {"readers":${nothing},"writer":${nothing},"workers":${nothing}}`)
      }),
    120_000
  )
})
