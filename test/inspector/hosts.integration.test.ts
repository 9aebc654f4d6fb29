/** The hosts of a PostgreSQL database, on the page of an inspector. */
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { ConnectionPool, InMemoryConnection } from "effect-connection-pool"
import { Inspector } from "effect-connection-pool/inspector"
import { HttpRouter } from "effect/http"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import type { Page } from "playwright-core"
import { browserPath, openPage, timeout } from "../support/browser.ts"
import * as Inspected from "../support/inspector.ts"
import { describeServer, until } from "../support/postgres.ts"
import { hostOf, poolOver, servers } from "../support/replicas.ts"

describeServer("an inspector of a PostgreSQL database with a replica", (it) => {
  it.effect(
    "has its pools, its hosts with role, lag and timeline, and what happens to them in a failover",
    () =>
      Effect.gen(function*() {
        const both = yield* servers
        const { primary, replica } = both
        yield* primary.query("create table t (n int)")
        yield* replica.caughtUp
        const db = yield* poolOver(both, { name: "orders" })
        const inspector = yield* Inspected.make({ watch: [db], interval: "100 millis" })
        const answer = inspector.events()
        const shown = Effect.map(answer, ({ hosts }) => hosts)
        const of = (host: string) => Effect.map(shown, (hosts) => hosts.find((one) => one.host === host)!)
        const { databases, pools } = yield* answer
        assert.deepStrictEqual(pools.map(({ name }) => name), [db.primary.name, db.replicas!.name])
        assert.deepStrictEqual(databases.map(({ pools }) => pools), [[0, 1]])
        yield* until(
          "each host has answered, and the page knows",
          Effect.map(shown, (hosts) => hosts.every(({ isFresh, role }) => role === "primary" || isFresh))
        )
        assert.deepStrictEqual(
          (yield* shown).map((
            { database, host, isFresh, role, timeline }
          ) => [database, host, role, timeline, isFresh]),
          [
            ["orders", hostOf(replica), "replica", 1, true],
            ["orders", hostOf(primary), "primary", 1, false]
          ]
        )
        assert.deepStrictEqual(
          (yield* db.hosts).map(({ host, isFresh, role, timeline }) => [host, role, timeline, isFresh]),
          (yield* shown).map(({ host, isFresh, role, timeline }) => [host, role, timeline, isFresh])
        )
        const answered = (yield* of(hostOf(primary))).answeredAgoMillis!
        assert.isAtLeast(answered, 0)
        assert.isBelow(answered, 30_000)
        assert.isUndefined((yield* of(hostOf(primary))).lagBytes)

        yield* until("it has all", Effect.map(of(hostOf(replica)), ({ lagBytes }) => lagBytes === 0))
        yield* Effect.scoped(Effect.gen(function*() {
          yield* replica.pauseReplay
          yield* db.sql`insert into t select generate_series(1, 10000)`
          yield* until("it lags", Effect.map(of(hostOf(replica)), ({ lagBytes = 0 }) => lagBytes > 100_000))
        }))
        yield* until("it has all again", Effect.map(of(hostOf(replica)), ({ lagBytes }) => lagBytes === 0))

        yield* primary.stop("immediate")
        yield* until("it is away", Effect.map(of(hostOf(primary)), ({ role }) => role === "away"))
        // Nobody knows what the primary has written.
        assert.isUndefined((yield* of(hostOf(replica))).lagBytes)
        yield* replica.promote
        yield* until("it is the primary", Effect.map(of(hostOf(replica)), ({ role }) => role === "primary"))
        yield* primary.start
        yield* until("it is refused", Effect.map(of(hostOf(primary)), ({ role }) => role === "refused"))
        yield* until(
          "it is told of",
          Effect.map(answer, ({ happenings }) => happenings.some(({ tag }) => tag === "OldPrimaryRefused"))
        )
        const { happenings } = yield* answer
        const found = happenings.findLast(({ tag }) => tag === "PrimaryFound")!
        assert.match(
          found.text,
          new RegExp(`the primary is ${hostOf(replica)} \\(timeline 2\\), after \\d+ ms without one`)
        )
        assert.strictEqual(found.source, "orders")
      }),
    { timeout: 120_000 }
  )
})

const hostile = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"

const hosts: ReadonlyArray<Inspector.AnyHost> = [
  {
    host: "db1.internal.example.com:5432",
    role: "primary",
    timeline: 8,
    isFresh: false,
    lagBytes: undefined,
    answeredAgoMillis: 420,
    problem: undefined
  },
  {
    host: "db2.internal.example.com:5432",
    role: "replica",
    timeline: 8,
    isFresh: true,
    lagBytes: 2048,
    answeredAgoMillis: 420,
    problem: undefined
  },
  {
    host: "db3.internal.example.com:5432",
    role: "replica",
    timeline: 8,
    isFresh: false,
    lagBytes: 52_428_800,
    answeredAgoMillis: 420,
    problem: undefined
  },
  {
    host: "db4.internal.example.com:5432",
    role: "refused",
    timeline: 7,
    isFresh: false,
    lagBytes: undefined,
    answeredAgoMillis: 420,
    problem: undefined
  },
  {
    host: hostile,
    role: "away",
    timeline: 0,
    isFresh: false,
    lagBytes: undefined,
    answeredAgoMillis: undefined,
    problem: hostile
  }
]

/** The address of the page of a database with these hosts. */
const serve = Effect.gen(function*() {
  const primary = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), name: "orders/primary" })
  const database = {
    name: "orders",
    sides: { primary },
    hosts: Effect.succeed(hosts),
    hostEvents: Stream.make({
      _tag: "PrimaryLost" as const,
      host: hostile,
      problem: "it has not answered within 500 ms"
    })
  }
  const server = createServer()
  const Page = HttpRouter.serve(
    Inspector.layer({ watch: [database], authorization: Inspected.everybody, interval: "100 millis" }),
    { disableLogger: true, disableListenLog: true }
  )
  yield* Layer.build(Layer.provide(Page, NodeHttpServer.layer(() => server, { host: "127.0.0.1", port: 0 })))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/inspector`
})

const rowsOf = (page: Page) =>
  Effect.promise(() =>
    page.evaluate<ReadonlyArray<ReadonlyArray<string>>>(
      "[...document.querySelectorAll('#hosts tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
  )

describe.skipIf(browserPath === undefined)("the hosts on the page of an inspector", () => {
  it.live("say what they are as text, and fit a phone in both themes", () =>
    Effect.gen(function*() {
      const url = yield* serve
      for (const colorScheme of ["light", "dark"] as const) {
        const { page, problems } = yield* openPage(url, { colorScheme, width: 390 })
        yield* Effect.promise(() => page.locator("#hosts td", { hasText: "db4" }).waitFor())
        yield* Effect.promise(() => page.locator("#events td", { hasText: "is lost, writes wait" }).waitFor())
        assert.deepStrictEqual(yield* rowsOf(page), [
          ["db1.internal.example.com:5432", "primary", "", "8", "420 ms ago", "orders"],
          ["db2.internal.example.com:5432", "replica", "2 KiB", "8", "420 ms ago", "orders"],
          [
            "db3.internal.example.com:5432",
            "replica, not read: it lags behind",
            "50.0 MiB",
            "8",
            "420 ms ago",
            "orders"
          ],
          ["db4.internal.example.com:5432", "old primary, not used", "", "7", "420 ms ago", "orders"],
          [hostile, `away: ${hostile}`, "", "", "never", "orders"]
        ])
        const region = page.getByRole("region", { name: "Hosts of databases" }).getByRole("table")
        assert.strictEqual(yield* Effect.promise(() => region.getByRole("columnheader").count()), 6)
        const state = yield* Effect.promise(() =>
          page.evaluate(
            "[document.documentElement.scrollWidth <= innerWidth, document.images.length, document.scripts.length]"
          )
        )
        assert.deepStrictEqual(state, [true, 0, 1])
        assert.deepStrictEqual(problems, [])
      }
    }).pipe(Effect.scoped), timeout)
})
