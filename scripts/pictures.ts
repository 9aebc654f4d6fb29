/**
 * Makes the pictures of the inspector in `docs/`: runs two pools under a load with a leak and a slow statement, and takes the
 * page in both themes. Needs Chromium, as the tests of the page do (`CHROMIUM_PATH` names another one).
 *
 *     npm run pictures
 */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Random, Schedule } from "effect"
import { ConnectionPool, HealthChecker, InMemoryConnection } from "effect-connection-pool"
import { Inspector } from "effect-connection-pool/inspector"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { mkdirSync } from "node:fs"
import { createServer } from "node:http"
import { fileURLToPath } from "node:url"
import { chromium } from "playwright-core"

const port = 4081
const folder = fileURLToPath(new URL("../docs/pictures/", import.meta.url))

/** How long the load runs before a picture is taken: the page shows this much. */
const seconds = 40

const load = Effect.gen(function*() {
  const orders = yield* ConnectionPool.make({
    name: "orders",
    factory: InMemoryConnection.factory(),
    max: 3,
    maxLifetime: "20 seconds",
    acquireTimeout: "3 seconds",
    leakThreshold: "8 seconds"
  })
  const notes = yield* Effect.orDie(SqlitePool.makeTemporary({ name: "notes", slowStatement: "10 millis" }))
  const health = yield* HealthChecker.make(orders)
  yield* notes.sql`create table note (id integer primary key, text text not null)`
  const spaced = Random.nextBetween(2, 90)
  const request = Effect.flatMap(
    Random.nextBetween(5, 160),
    (millis) => Effect.ignore(orders.use(() => Effect.sleep(millis), { label: "checkout" }))
  )
  const requests = Effect.forever(Effect.andThen(Effect.forkDetach(request), Effect.flatMap(spaced, Effect.sleep)))
  yield* Effect.forkScoped(requests)
  const exported = orders.use(() => Effect.sleep("1 minute"), { label: "nightly export" })
  yield* Effect.forkScoped(Effect.delay(Effect.ignore(exported), "24 seconds"))
  yield* Effect.forkScoped(
    Effect.repeat(notes.sql`insert into note (text) values (${"a note"})`, Schedule.spaced("40 millis"))
  )
  const count =
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000) select count(*) from n"
  yield* Effect.forkScoped(
    Effect.repeat(notes.read((reader) => reader.values(count), { label: "report" }), Schedule.spaced("7 seconds"))
  )
  return { watch: [orders, notes], health: [health] }
})

const picture = Effect.promise(async () => {
  mkdirSync(folder, { recursive: true })
  const browser = await chromium.launch({
    executablePath: process.env["CHROMIUM_PATH"] ?? "/usr/bin/chromium",
    args: ["--no-sandbox"]
  })
  const take = async (colorScheme: "light" | "dark") => {
    const page = await browser.newPage({ colorScheme, viewport: { width: 1180, height: 900 } })
    await page.goto(`http://127.0.0.1:${port}/`)
    await page.locator("#holders tbody td").first().waitFor()
    await page.screenshot({ path: `${folder}inspector-${colorScheme}.png` })
  }
  await Promise.all([take("light"), take("dark")])
  await browser.close()
})

const main = Effect.gen(function*() {
  const options = yield* load
  const Server = NodeHttpServer.layer(createServer, { host: "127.0.0.1", port })
  const Page = Inspector.loopback({ ...options, interval: "200 millis", history: `${seconds} seconds` })
  yield* Layer.build(Layer.provide(Page, Server))
  yield* Effect.sleep(`${seconds} seconds`)
  yield* picture
  yield* Console.log(`the pictures are in ${folder}`)
})

NodeRuntime.runMain(Effect.scoped(main))
