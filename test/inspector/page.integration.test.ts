import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { ConnectionPool, InMemoryConnection, PoolMap } from "effect-connection-pool"
import { Inspector } from "effect-connection-pool/inspector"
import { FaultyFactory } from "effect-connection-pool/testing"
import { HttpRouter } from "effect/http"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import type { Page } from "playwright-core"
import { browserPath, openPage, timeout } from "../support/browser.ts"
import { everybody } from "../support/inspector.ts"

if (browserPath === undefined) {
  process.stderr.write("no Chromium was found: the tests of the inspector's page are skipped\n")
}

const hostile = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"

/** A port that nobody listens on. */
const freePort = Effect.callback<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** A pool of two connections, of which one is held, and the address of its page. */
const serve = Effect.fnUntraced(function*(actions?: typeof everybody) {
  const faulty = yield* FaultyFactory.make()
  const { factory } = faulty
  const pool = yield* ConnectionPool.make({ factory, max: 2, name: "orders", drainTimeout: 0 })
  yield* Effect.forkScoped(pool.use(() => Effect.never, { label: hostile }))
  return { pool, ...yield* serveAll([pool], actions) }
})

/** The address of the page of these pools. */
const serveAll = Effect.fnUntraced(function*(watch: ReadonlyArray<Inspector.Watched>, actions?: typeof everybody) {
  const port = yield* freePort
  const host = `127.0.0.1:${port}`
  const Routes = Inspector.layer({
    watch,
    authorization: everybody,
    interval: "100 millis",
    actions,
    hosts: [host]
  })
  // A request that does not end by itself keeps it for longer than a test may take.
  const Server = NodeHttpServer.layer(createServer, { host: "127.0.0.1", port, gracefulShutdownTimeout: "1 hour" })
  const App = HttpRouter.serve(Routes, { disableLogger: true, disableListenLog: true })
  const scope = yield* Scope.make()
  yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
  yield* Layer.buildWithScope(Layer.provide(App, Server), scope)
  return { scope, url: `http://${host}/inspector` }
})

const isLending = (pool: Pick<ConnectionPool.ConnectionPool<unknown, unknown>, "use">) =>
  Effect.isSuccess(pool.use(() => Effect.void, { timeout: 0 }))

/** Waits until a text is in an element. The test fails if it never comes. */
const hasText = (page: Page, selector: string, text: string) =>
  Effect.promise(() => page.locator(selector, { hasText: text }).first().waitFor({ state: "attached" }))

describe.skipIf(browserPath === undefined)("the page of an inspector, in a browser", () => {
  it.live(
    "shows what stats and holders say, with the texts of others as text, and no error",
    () =>
      Effect.gen(function*() {
        const { pool, url } = yield* serve()
        const { page, problems } = yield* openPage(url)
        yield* hasText(page, "#pools", "1 of 2 in use")
        yield* hasText(page, "#holders", hostile)
        yield* hasText(page, "#lanes title", `held by ${hostile}`)
        const waiting = yield* Effect.forEach([1, 2], () => Effect.forkScoped(pool.use(() => Effect.never)))
        yield* hasText(page, "#pools", "2 of 2 in use, 1 in line")
        yield* hasText(page, "#pool-state", "callers wait")
        yield* hasText(page, "#numbers", "2 of 2")
        yield* Effect.forEach(waiting, Fiber.interrupt)
        yield* hasText(page, "#pool-state", "open")
        const markup = yield* Effect.promise(() => page.evaluate("[document.images.length, document.scripts.length]"))
        assert.deepStrictEqual(markup, [0, 1])
        assert.deepStrictEqual(problems, [])
      }).pipe(Effect.scoped),
    timeout
  )

  it.live("acts after it has asked, and only where the application allows it", () =>
    Effect.gen(function*() {
      const reading = yield* serve()
      const first = yield* openPage(reading.url)
      yield* hasText(first.page, "#pools", "orders")
      assert.isFalse(yield* Effect.promise(() => first.page.locator("#actions").isVisible()))
      const { pool, url } = yield* serve(everybody)
      const { page, problems } = yield* openPage(url)
      const click = (selector: string) => Effect.promise(() => page.locator(selector).click())
      yield* click("[data-action=pause]")
      yield* hasText(page, "#confirm-text", "orders")
      yield* click("#confirm button[value=no]")
      yield* click("[data-action=pause]")
      assert.isTrue(yield* isLending(pool))
      yield* click("#confirm-yes")
      yield* hasText(page, "#action-result", "paused: callers wait")
      yield* hasText(page, "#pool-state", "paused")
      assert.isFalse(yield* isLending(pool))
      yield* click("[data-action=resume]")
      yield* click("#confirm-yes")
      yield* hasText(page, "#action-result", "resumed")
      yield* Effect.promise(() => page.locator("[name=max]").fill("7"))
      yield* click("#resize button")
      yield* click("#confirm-yes")
      yield* hasText(page, "#action-result", "resized")
      assert.strictEqual((yield* pool.stats).max, 7)
      assert.deepStrictEqual(problems, [])
    }).pipe(Effect.scoped), timeout)

  it.live("asks for nothing while it cannot be seen, and goes on when it is seen again", () =>
    Effect.gen(function*() {
      const { pool, url } = yield* serve()
      const { page } = yield* openPage(url, { isClockHeld: true })
      const asked: Array<string> = []
      page.on("request", (request) => asked.push(request.url()))
      const see = (isHidden: boolean) =>
        Effect.promise(() =>
          page.evaluate(`
            Object.defineProperty(document, "hidden", { configurable: true, get: () => ${isHidden} })
            document.dispatchEvent(new Event("visibilitychange"))
          `)
        )
      yield* hasText(page, "#pools", "orders")
      yield* see(true)
      // The answer to what was asked before may still come.
      yield* Effect.promise(() => page.waitForLoadState("networkidle"))
      const before = asked.length
      yield* Effect.promise(() => page.clock.runFor("01:00:00"))
      assert.strictEqual(asked.length, before)
      yield* pool.pause
      yield* see(false)
      yield* hasText(page, "#pool-state", "paused")
      yield* hasText(page, "#events", "paused: callers wait")
    }).pipe(Effect.scoped), timeout)

  it.live("asks one question at a time, and says when no answer comes", () =>
    Effect.gen(function*() {
      const { url } = yield* serve()
      const { page } = yield* openPage(url, { isClockHeld: true })
      yield* hasText(page, "#status", "Live")
      const asked: Array<string> = []
      yield* Effect.promise(() => page.route("**/events*", (route) => void asked.push(route.request().url())))
      const look = Effect.promise(() => page.evaluate("document.dispatchEvent(new Event('visibilitychange'))"))
      yield* look
      yield* look
      yield* look
      yield* Effect.promise(() => page.clock.runFor(29_000))
      yield* hasText(page, "#status", "Live")
      assert.strictEqual(asked.length, 1)
      yield* Effect.promise(() => page.clock.runFor(2000))
      yield* hasText(page, "#status", "No answer, none came in 30 seconds")
      yield* Effect.promise(() => page.unroute("**/events*"))
      yield* Effect.promise(() => page.clock.runFor(1000))
      yield* hasText(page, "#status", "Live")
    }).pipe(Effect.scoped), timeout)

  it.live("fits a phone, in both themes, and can be used with the keyboard", () =>
    Effect.gen(function*() {
      const { url } = yield* serve()
      for (const colorScheme of ["light", "dark"] as const) {
        const { page, problems } = yield* openPage(url, { colorScheme, width: 360 })
        yield* hasText(page, "#holders", "img")
        const fits = yield* Effect.promise(() =>
          page.evaluate<boolean>("document.documentElement.scrollWidth <= innerWidth")
        )
        assert.isTrue(fits)
        const reached: Array<string> = []
        for (let press = 0; press < 12; press++) {
          yield* Effect.promise(() => page.keyboard.press("Tab"))
          reached.push(
            yield* Effect.promise(() =>
              page.evaluate<string>("document.activeElement.id || document.activeElement.tagName.toLowerCase()")
            )
          )
        }
        assert.includeMembers(reached, ["freeze", "g", "simulate", "all-events"])
        assert.deepStrictEqual(problems, [])
      }
    }).pipe(Effect.scoped), timeout)

  it.live("finds one of many pools, and shows what it did before it was chosen", () =>
    Effect.gen(function*() {
      const pools = yield* Effect.forEach(Array.from({ length: 120 }, (_, index) => index), (index) =>
        ConnectionPool.make({
          factory: InMemoryConnection.factory(),
          max: 2,
          name: `tenant ${index}`,
          drainTimeout: 0
        }))
      yield* Effect.forkScoped(pools[77]!.use(() =>
        Effect.never, { label: "nightly export" }))
      const { url } = yield* serveAll(pools)
      const { page, problems } = yield* openPage(url)
      const click = (selector: string) =>
        Effect.promise(() => page.locator(selector).first().click())
      yield* hasText(page, "#pools-note", "Pools 1 to 50 of 120, the busiest first.")
      yield* hasText(page, "#pools button:nth-child(1)", "tenant 77")
      yield* click("#pools-after")
      yield* hasText(page, "#pools-note", "Pools 51 to 100 of 120")
      yield* click("#pools-before")
      yield* hasText(page, "#pools-note", "Pools 1 to 50 of 120")
      yield* Effect.promise(() => page.locator("#find").fill("Tenant 77"))
      yield* hasText(page, "#pools-note", "Pools 1 to 1 of 1")
      yield* click("#pools button:has-text('tenant 77')")
      yield* hasText(page, "#pool-name", "tenant 77")
      yield* hasText(page, "#holders", "nightly export")
      const lanes = Effect.promise(() => page.locator("#lanes rect.held").last().getAttribute("width"))
      yield* hasText(page, "#lanes title", "held by nightly export")
      assert.isAbove(Number(yield* lanes), 100)
      yield* Effect.promise(() => page.locator("#find").fill("nobody"))
      yield* hasText(page, "#pools-note", "No pool of 120 has that name.")
      yield* hasText(page, "#pool-name", "tenant 77")
      assert.deepStrictEqual(problems, [])
    }).pipe(Effect.scoped), timeout)

  it.live(
    "turns the pages of a map of many pools with the keyboard, and keeps the focus",
    () =>
      Effect.gen(function*() {
        const map = yield* PoolMap.make({ name: "customers", max: 500, open: (key: string) => Effect.succeed({ key }) })
        for (let key = 0; key < 250; key++) yield* map.use(`customer ${key}`, () => Effect.void)
        const { url } = yield* serveAll([map])
        const { page, problems } = yield* openPage(url)
        yield* hasText(page, "#maps p", "Listed are 1 to 100, the busiest first.")
        const next = page.locator("#maps button", { hasText: "More pools" })
        yield* Effect.promise(() => next.focus())
        yield* Effect.promise(() => page.keyboard.press("Enter"))
        yield* hasText(page, "#maps p", "Listed are 101 to 200")
        yield* hasText(page, "#maps td", "customer 150")
        yield* Effect.promise(() => page.keyboard.press("Enter"))
        yield* hasText(page, "#maps p", "Listed are 201 to 250")
        // There are no more.
        yield* Effect.promise(() => page.keyboard.press("Enter"))
        const disabled = yield* Effect.promise(() => next.getAttribute("aria-disabled"))
        const focused = yield* Effect.promise(() => page.evaluate<string>("document.activeElement.textContent"))
        assert.deepStrictEqual([disabled, focused], ["true", "More pools"])
        yield* hasText(page, "#maps p", "Listed are 201 to 250")
        assert.deepStrictEqual(problems, [])
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "goes through the lanes with the arrow keys, and does not lose the place when it draws anew",
    () =>
      Effect.gen(function*() {
        const { pool, url } = yield* serve()
        yield* Effect.forkScoped(pool.use(() => Effect.never))
        const { page } = yield* openPage(url)
        yield* hasText(page, "#lanes text", "#2")
        const press = (key: string) => Effect.promise(() => page.keyboard.press(key))
        const focused = Effect.promise(() =>
          page.evaluate<string | null>("document.activeElement.getAttribute('data-lane')")
        )
        yield* Effect.promise(() => page.locator("#freeze").focus())
        // The pool, and then its lanes.
        yield* press("Tab")
        yield* press("Tab")
        assert.strictEqual(yield* focused, "1")
        yield* press("ArrowDown")
        assert.strictEqual(yield* focused, "2")
        yield* press("ArrowDown")
        assert.strictEqual(yield* focused, "2")
        yield* pool.pause
        yield* hasText(page, "#pool-state", "paused")
        assert.strictEqual(yield* focused, "2")
        yield* press("ArrowUp")
        assert.strictEqual(yield* focused, "1")
        yield* press("Tab")
        assert.isNull(yield* focused)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live("does not hold up the end of the server", () =>
    Effect.gen(function*() {
      const { scope, url } = yield* serve()
      const pages = yield* Effect.forEach([1, 2, 3], () => openPage(url))
      for (const { page } of pages) yield* hasText(page, "#pools", "orders")
      // An open stream would keep the server.
      yield* Scope.close(scope, Exit.void)
      for (const { page } of pages) yield* hasText(page, "#status", "No answer")
    }).pipe(Effect.scoped), timeout)
})
