import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import type { PoolError } from "effect-connection-pool"
import { Inspector } from "effect-connection-pool/inspector"
import { PoolAssert } from "effect-connection-pool/testing"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import * as NetAddress from "effect/net/NetAddress"
import { TestClock } from "effect/testing"
import { createHash } from "node:crypto"
import * as Inspected from "../support/inspector.ts"
import { everybody, nobody, sameOrigin } from "../support/inspector.ts"
import { borrow, make } from "../support/pools.ts"

const routes = ["/inspector", "/inspector/events", "/inspector/sizes?pool=0"]

const pause = { action: "pause", pool: 0, name: "pool" }

const open = { authorization: everybody, actions: everybody, hosts: ["ops.example.com"] }

describe("the authorization of an inspector", () => {
  it.effect("decides over every route, and its answer is the answer", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const { act, ask } = yield* Inspected.make({ watch: [pool], ...open, authorization: nobody })
      const headers = { host: "ops.example.com" }
      for (const path of routes) {
        const response = yield* ask(path, { headers })
        assert.deepStrictEqual([response.status, yield* Effect.promise(() => response.text())], [401, "log in first"])
      }
      assert.strictEqual((yield* act(pause)).status, 401)
      assert.isFalse(
        (yield* pool.stats).waiting > 0 || (yield* Effect.isSuccess(pool.use(() => Effect.void))) === false
      )
    }))

  it.effect("lets nobody act who may only read, nor anybody who may only act", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const reading = yield* Inspected.make({ watch: [pool], ...open, actions: nobody })
      assert.strictEqual((yield* reading.act(pause)).status, 401)
      const acting = yield* Inspected.make({ watch: [pool], ...open, authorization: nobody })
      assert.strictEqual((yield* acting.act(pause)).status, 401)
      // A middleware that refuses after the route has run.
      const late = yield* Inspected.make({
        watch: [pool],
        ...open,
        authorization: (route) => Effect.andThen(route, nobody(route))
      })
      assert.strictEqual((yield* late.act(pause)).status, 401)
      const watching = yield* Inspected.make({ watch: [pool] })
      assert.isFalse((yield* watching.view).isPaused)
    }))

  it.effect("is asked for actions only where the application allows them: else there is no such route", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const inspector = yield* Inspected.make({ watch: [pool] })
      assert.strictEqual((yield* inspector.act(pause)).status, 404)
      assert.isFalse((yield* inspector.events()).canAct)
    }))
})

describe("the actions of an inspector", () => {
  it.effect("do what they say, to the pool that has the name", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 2, min: 1, start: "eager" })
      const { act } = yield* Inspected.make({ watch: [pool], ...open })
      const answer = (action: unknown) =>
        Effect.flatMap(act(action), (response) => Effect.promise(() => response.json() as Promise<unknown>))
      assert.deepStrictEqual(yield* answer(pause), { done: "paused: callers wait" })
      assert.deepStrictEqual(yield* answer({ ...pause, action: "resume" }), { done: "resumed" })
      assert.deepStrictEqual(yield* answer({ ...pause, action: "check" }), {
        done: "1 idle connections work, 0 do not"
      })
      assert.deepStrictEqual(yield* answer({ ...pause, action: "resize", max: 5 }), { done: "resized" })
      assert.strictEqual((yield* pool.stats).max, 5)
      assert.include(yield* answer({ ...pause, action: "recycle" }), {
        done: "1 connections are replaced, those in use when they come back"
      })
      const { problem } = (yield* answer({ ...pause, action: "resize", max: 0 })) as { readonly problem: string }
      assert.include(problem, "max is 0")
      assert.deepStrictEqual(yield* answer({ ...pause, action: "resize" }), { problem: "give min, max or both" })
      assert.strictEqual((yield* act({ ...pause, name: "another" })).status, 404)
      assert.strictEqual((yield* act({ ...pause, pool: 3 })).status, 404)
      for (const wrong of [undefined, null, {}, { ...pause, action: "shutdown" }, { ...pause, pool: "0" }, "pause"]) {
        assert.strictEqual((yield* act(wrong)).status, 400, JSON.stringify(wrong))
      }
    }))

  it.effect("are not done, and are not said to be done, once the pool is closed", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const { act } = yield* Inspected.make({ watch: [pool], ...open })
      yield* pool.shutdown()
      for (const action of ["pause", "resume", "recycle", "check", "resize"]) {
        const response = yield* act({ ...pause, action, max: 3 })
        const { problem } = (yield* Effect.promise(() => response.json())) as { readonly problem: string }
        assert.deepStrictEqual([response.status, problem], [409, "the pool is closed"], action)
      }
    }))

  it.effect("are refused if a page of another site sends them, whoever its user is", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const { act, ask } = yield* Inspected.make({ watch: [pool], ...open })
      const wrong: ReadonlyArray<Record<string, string | undefined>> = [
        { "sec-fetch-site": "cross-site" },
        { "sec-fetch-site": "same-site" },
        { "sec-fetch-site": "none" },
        { "sec-fetch-site": undefined },
        { origin: "https://evil.example" },
        { origin: "null" },
        { origin: undefined },
        { origin: "https://ops.example.com:8443" },
        // What a form can send without asking first.
        { "content-type": "text/plain" },
        { "content-type": "application/x-www-form-urlencoded" },
        { "content-type": undefined },
        // A name of the attacker that points to this server.
        { host: "evil.example", origin: "https://evil.example" },
        { host: undefined }
      ]
      for (const change of wrong) {
        const headers = Object.fromEntries(
          Object.entries({ ...sameOrigin, ...change }).filter((entry): entry is [string, string] =>
            entry[1] !== undefined
          )
        )
        // A Request gives every body a type of its own.
        const init = change["content-type"] === undefined && "content-type" in change
          ? { method: "POST", headers, body: new TextEncoder().encode(JSON.stringify(pause)) }
          : { method: "POST", headers, body: JSON.stringify(pause) }
        assert.strictEqual((yield* ask("/inspector/actions", init)).status, 403, JSON.stringify(change))
      }
      assert.strictEqual((yield* ask("/inspector/actions", { headers: sameOrigin })).status, 404, "no GET acts")
      assert.strictEqual((yield* act({ ...pause, more: "x".repeat(100_000) })).status, 400, "a body that is too long")
      yield* pool.use(() => Effect.void)
      assert.strictEqual((yield* act(pause)).status, 200)
    }))
})

describe("the page of an inspector", () => {
  it.effect("may run nothing but its own script, and be neither framed nor cached", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const { ask } = yield* Inspected.make({ watch: [pool] })
      const response = yield* ask("/inspector")
      const text = yield* Effect.promise(() => response.text())
      const policy = response.headers.get("content-security-policy")!
      const hashOf = (tag: string) =>
        `'sha256-${createHash("sha256").update(text.split(`<${tag}>`)[1]!.split(`</${tag}>`)[0]!).digest("base64")}'`
      assert.include(policy, "default-src 'none'")
      assert.include(policy, `script-src ${hashOf("script")};`)
      assert.include(policy, `style-src ${hashOf("style")};`)
      assert.include(policy, "frame-ancestors 'none'")
      assert.notInclude(policy, "unsafe")
      assert.strictEqual(text.split("<script").length, 2)
      const own = text.replaceAll("http://www.w3.org/2000/svg", "")
      assert.notMatch(
        own,
        /\son\w+=|javascript:|https?:|\sstyle=|innerHTML|outerHTML|insertAdjacentHTML|document\.write/
      )
      for (const path of routes) {
        const { headers } = yield* ask(path)
        assert.strictEqual(headers.get("cache-control"), "no-store", path)
        assert.strictEqual(headers.get("x-content-type-options"), "nosniff", path)
        assert.strictEqual(headers.get("x-frame-options"), "DENY", path)
        assert.isNull(headers.get("access-control-allow-origin"), path)
      }
    }))

  it.effect("is not given to scripts and pictures of another site, but to a link of it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const { ask } = yield* Inspected.make({ watch: [pool] })
      for (const path of routes) {
        for (const site of ["cross-site", "same-site"]) {
          assert.strictEqual(
            (yield* ask(path, { headers: { "sec-fetch-site": site, "sec-fetch-mode": "no-cors" } })).status,
            403
          )
        }
        const frame = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" }
        assert.strictEqual((yield* ask(path, { headers: frame })).status, 403)
        const link = { ...frame, "sec-fetch-dest": "document" }
        assert.strictEqual((yield* ask(path, { headers: link })).status, 200)
        assert.strictEqual((yield* ask(path, { headers: { "sec-fetch-site": "same-origin" } })).status, 200)
      }
    }))

  it.effect("is asked for with HEAD by those who may ask with GET, and by nobody else", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const open = yield* Inspected.make({ watch: [pool] })
      const closed = yield* Inspected.make({ watch: [pool], authorization: nobody })
      for (const path of routes) {
        assert.strictEqual((yield* open.ask(path, { method: "HEAD" })).status, 200, path)
        assert.strictEqual((yield* closed.ask(path, { method: "HEAD" })).status, 401, path)
        const headers = { "sec-fetch-site": "cross-site" }
        assert.strictEqual((yield* open.ask(path, { method: "HEAD", headers })).status, 403, path)
      }
    }))

  it.effect("has labels of any length, cut, so that no answer is too long to be written", () =>
    Effect.gen(function*() {
      const label = "x".repeat(1_000_000)
      const { pool } = yield* make({ leakThreshold: "1 second" })
      const { ask, events } = yield* Inspected.make({ watch: [pool] })
      const lease = yield* borrow(pool, { label })
      yield* TestClock.adjust("1 minute")
      const { frames, happenings, pool: view } = yield* events()
      assert.strictEqual(view!.holders[0]!.label, `${label.slice(0, 200)}...`)
      assert.strictEqual(frames.at(-1)!.lanes[0]!.holder, `${label.slice(0, 200)}...`)
      assert.isTrue(happenings.some(({ text }) => text.startsWith(`possible leak: ${label.slice(0, 200)}`)))
      const response = yield* ask("/inspector/events")
      assert.isBelow((yield* Effect.promise(() => response.text())).length, 200_000)
      yield* lease.giveBack
    }))

  it.effect("has the texts of others as data, never as markup", () =>
    Effect.gen(function*() {
      const hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
      const { pool } = yield* make({ name: hostile })
      const { ask, events } = yield* Inspected.make({ watch: [pool] })
      const lease = yield* borrow(pool, { label: hostile })
      const response = yield* ask("/inspector/events")
      assert.strictEqual(response.headers.get("content-type"), "application/json")
      const { pool: view, pools } = yield* events()
      assert.deepStrictEqual([view!.holders[0]!.label, view!.name, pools[0]!.name], [hostile, hostile, hostile])
      const page = yield* ask("/inspector")
      assert.notInclude(yield* Effect.promise(() => page.text()), "alert(1)")
      yield* lease.giveBack
    }))
})

describe("an inspector on a port of its own", () => {
  const serverAt = (address: NetAddress.SocketAddress) =>
    Layer.succeed(HttpServer.HttpServer, HttpServer.HttpServer.of({ address, serve: (() => Effect.void) as never }))
  const at = (ip: NetAddress.IpAddress) => serverAt(NetAddress.inetAddressUnsafe(ip, 4080))

  it.effect("listens on this machine only: on another address it fails", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const build = (server: Layer.Layer<HttpServer.HttpServer>) =>
        Effect.scoped(Layer.build(Layer.provide(Inspector.loopback({ watch: [pool] }), server)))
      for (const ip of ["0.0.0.0", "192.168.1.7", "::", "2001:db8::1"]) {
        const error = yield* PoolAssert.failsWith(build(at(NetAddress.ipFromStringUnsafe(ip))), "PoolConfigError")
        assert.include(error.message, `listens on ${ip}`)
      }
      yield* build(at(NetAddress.ipv4Loopback))
      yield* build(at(NetAddress.ipv6Loopback))
    }))

  it("answers only under the names of this machine", async () => {
    const { isLoopbackHost } = await import("../../src/inspector/internal/guard.ts")
    for (const host of ["localhost", "localhost:4080", "127.0.0.1:4080", "[::1]:4080"]) {
      assert.isTrue(isLoopbackHost(host), host)
    }
    for (
      const host of ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "localhost:x", "[::2]"]
    ) {
      assert.isFalse(isLoopbackHost(host), host)
    }
  })
})

describe("the options of an inspector", () => {
  it.effect("are refused with what to write, before anything is recorded", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const refused = (options: object) =>
        Effect.map(
          PoolAssert.failsWith(
            HttpRouter.toHttpEffect(
              Inspector.layer({ watch: [pool], authorization: everybody, ...options } as never)
            ) as Effect.Effect<unknown, PoolError.PoolConfigError>,
            "PoolConfigError"
          ),
          ({ message }) => message
        )
      assert.include(yield* refused({ authorization: undefined }), "authorization is not given")
      assert.include(yield* refused({ watch: [{}] }), "a ConnectionPool, a SqlitePool, a PgPool or a PoolMap")
      assert.include(yield* refused({ watch: [Effect.succeed(pool)] }), "no effect or layer of one")
      assert.include(yield* refused({ path: "inspector" }), "it begins with /")
      assert.include(yield* refused({ path: "/a/:b" }), "has no parameters")
      assert.include(yield* refused({ health: [pool] }), "an array of health checkers")
      assert.include(yield* refused({ actions: everybody }), "hosts")
      assert.include(yield* refused({ hosts: ["https://ops.example.com"] }), "an array of hosts")
      assert.include(yield* refused({ interval: "1 second", history: "1 second" }), "history")
      assert.include(yield* refused({ interval: "1 second", history: "2 hours" }), "3600 times interval")
      assert.include(yield* refused({ intervall: 1 }), "interval")
    }).pipe(Effect.scoped))

  it.effect("do not put two pages at one path: the second layer fails, and says to give all pools to one", () =>
    Effect.gen(function*() {
      const [{ pool }, { pool: other }] = [yield* make(), yield* make()]
      const options = { authorization: everybody }
      const build = (...layers: ReadonlyArray<Layer.Layer<never, PoolError.PoolConfigError, HttpRouter.HttpRouter>>) =>
        Effect.asVoid(HttpRouter.toHttpEffect(Layer.mergeAll(Layer.empty, ...layers))).pipe(
          Effect.catchTag("PoolConfigError", ({ field, message, value }) => Effect.succeed({ field, message, value }))
        )
      const first = Inspector.layer({ watch: [pool], ...options }) as never
      const second = Inspector.layer({ watch: [other], ...options }) as never
      const refused = yield* build(first, second)
      assert.deepStrictEqual([refused?.field, refused?.value], ["path", "/inspector"])
      assert.include(refused?.message, "watch: [one, other]")
      // A route of the application, at a path of the page.
      const own = HttpRouter.add("GET", "/inspector/events", HttpServerResponse.text("mine")) as never
      assert.strictEqual((yield* build(Layer.provideMerge(first, own)))?.value, "/inspector/events")
      assert.isUndefined(yield* build(first, Inspector.layer({ watch: [other], ...options, path: "/other" }) as never))
    }).pipe(Effect.scoped))
})
