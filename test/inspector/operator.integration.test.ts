import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { ConnectionPool, HealthChecker } from "effect-connection-pool"
import { Inspector } from "effect-connection-pool/inspector"
import { FaultyFactory } from "effect-connection-pool/testing"
import { HttpServer } from "effect/http"
import * as NetAddress from "effect/net/NetAddress"
import { createServer } from "node:http"
import type { Page } from "playwright-core"
import { browserPath, openPage } from "../support/browser.ts"
import * as SqlitePools from "../support/sqlitePools.ts"

/** A browser needs long on a machine that is busy. */
const slow = 120_000

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
        acquireTimeout: "20 seconds",
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
    }).pipe(Effect.scoped), slow)
})
