import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { ConnectionPool, HealthChecker } from "effect-connection-pool"
import { Inspector } from "effect-connection-pool/inspector"
import { FaultyFactory } from "effect-connection-pool/testing"
import { HttpServer } from "effect/http"
import * as NetAddress from "effect/net/NetAddress"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:http"
import type { Page } from "playwright-core"
import { browserPath, openPage, timeout } from "../support/browser.ts"
import { path, withService } from "../support/httpService.ts"
import * as SqlitePools from "../support/sqlitePools.ts"

/** The text of the first element that has this text, once there is one. */
const read = (page: Page, selector: string, text: string | RegExp) =>
  Effect.promise(async () => {
    const found = page.locator(selector, { hasText: text }).first()
    await found.waitFor({ state: "attached" })
    return (await found.textContent()) ?? ""
  })

const choose = (page: Page, pool: string) =>
  Effect.promise(() => page.locator("#pools button", { hasText: pool }).click())

describe.skipIf(browserPath === undefined)("an operator", () => {
  it.live("finds a leak, a slow statement and an outage on the page", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      const { factory } = faulty
      const orders = yield* ConnectionPool.make({
        factory,
        max: 1,
        name: "orders",
        leakThreshold: "100 millis",
        acquireTimeout: "2 minutes",
        drainTimeout: 0
      })
      const { pool: notes } = yield* SqlitePools.make({ name: "notes", slowStatement: "5 millis" })
      const health = yield* HealthChecker.make(orders, { interval: "100 millis" })
      const Server = NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })
      const options = { watch: [orders, notes], health: [health], interval: "100 millis" } as const
      const scope = yield* Scope.make()
      yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
      const context = yield* Layer.buildWithScope(Layer.provideMerge(Inspector.loopback(options), Server), scope)
      const { address } = yield* Effect.provideContext(HttpServer.HttpServer, context)
      assert.isFalse(NetAddress.isUnixPathAddress(address))
      const { page, problems } = yield* openPage(`http://127.0.0.1:${(address as NetAddress.InetAddress).port}/`)

      // The pool is empty, and callers wait: somebody does not give a connection back.
      const found = yield* Deferred.make<void>()
      const leak = yield* Effect.forkScoped(orders.use(() => Deferred.await(found), { label: "nightly export" }))
      const waiting = yield* Effect.forkScoped(orders.use(() => Effect.void))
      yield* read(page, "#pools button", "1 of 1 in use, 1 in line")
      assert.include(yield* read(page, "#holders tbody", "nightly export"), "nightly export")
      yield* read(page, "#events td", /possible leak: nightly export .* and still does/)
      yield* Deferred.succeed(found, undefined)
      yield* Fiber.join(leak)
      yield* Fiber.join(waiting)
      yield* read(page, "#pool-state", "open")

      // Callers are slow: one statement takes long.
      yield* choose(page, "notes/readers")
      const counting =
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 400000) select count(*) from n"
      yield* notes.read((reader) => reader.values(counting))
      assert.include(yield* read(page, "#statements tbody tr", "with recursive"), counting)
      yield* read(page, "#events td", /slow statement: .*with recursive/)

      // The database is down: no connection can be opened.
      yield* choose(page, "orders")
      yield* faulty.connect.fail(1000)
      yield* orders.recycle
      yield* read(page, "#health", "unhealthy")
      yield* read(page, "#events td", "could not be opened")
      yield* read(page, "#numbers div", /connects failed[1-9]/)
      yield* faulty.connect.clear
      yield* read(page, "#health .good", "healthy")
      assert.deepStrictEqual(problems, [])
    }).pipe(Effect.scoped), timeout)

  it.live(
    "finds a slow statement, a leak and an outage of the example service, within a minute each",
    () =>
      Effect.promise(() =>
        withService(
          {
            NOTES_INSPECTOR_PASSWORD: "open sesame",
            NOTES_EXERCISES: "on",
            NOTES_LEAK_THRESHOLD: "500 millis",
            STOP_GRACE: "0 millis"
          },
          ({ url }) => Effect.runPromise(Effect.scoped(practise(url)))
        )
      ),
    timeout
  )
})

const statusOf = (url: string, body?: object): Effect.Effect<number> =>
  Effect.promise(() =>
    fetch(
      url,
      body === undefined ? {} : {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body)
      }
    ).then(({ status }) => status)
  )

/** What an operator does who is told that the service is slow, that it answers nothing, and that it stores nothing. */
const practise = Effect.fnUntraced(function*(url: string) {
  const credentials = { username: "operator", password: "open sesame" }
  const { page, problems } = yield* openPage(`${url}/inspector`, { credentials })
  const withinAMinute = <A>(effect: Effect.Effect<A>) => Effect.orDie(Effect.timeout(effect, "1 minute"))
  assert.strictEqual(yield* statusOf(`${url}/notes`, { text: "first" }), 201)

  yield* Effect.forkScoped(statusOf(`${url}/exercise/report`, {}))
  yield* choose(page, "notes/readers")
  yield* withinAMinute(read(page, "#statements tbody tr", "with recursive"))
  yield* withinAMinute(
    read(page, "#events td", /slow statement: .*with recursive.* of report .*nothing else in this process/)
  )

  for (let leak = 0; leak < 4; leak++) yield* statusOf(`${url}/exercise/leak`, {})
  assert.strictEqual(yield* statusOf(`${url}/notes`), 503)
  yield* withinAMinute(read(page, "#pools button", /notes.readers4 of 4 in use/))
  yield* withinAMinute(read(page, "#holders tbody tr", "nightly export"))
  yield* withinAMinute(read(page, "#events td", /possible leak: nightly export .* and still does/))
  yield* withinAMinute(read(page, "#lanes title", "held by nightly export"))

  const { filename } = yield* Effect.promise(() =>
    fetch(`${url}/pool`).then((response) => response.json() as Promise<{ readonly filename: string }>)
  )
  const lock = spawn(process.execPath, [path("../../examples/http-service/lock.ts"), filename], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  yield* Effect.addFinalizer(() => Effect.sync(() => lock.kill("SIGKILL")))
  yield* Effect.promise(() => once(lock.stdout, "data"))
  const stored = yield* Effect.forEach(Array.from({ length: 20 }), () => statusOf(`${url}/notes`, { text: "more" }), {
    concurrency: "unbounded"
  })
  assert.notInclude(stored, 201)
  yield* withinAMinute(read(page, "#health li", "writer: "))
  yield* withinAMinute(read(page, "#numbers div", /^in use/))
  lock.kill("SIGKILL")
  yield* withinAMinute(
    Effect.repeat(statusOf(`${url}/notes`, { text: "again" }), { until: (status) => status === 201 })
  )
  assert.deepStrictEqual(problems, [])
})
