import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Random } from "effect"
import { PoolMap } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { SqlClient } from "effect/sql"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { folder as temporaryFolder, openNames as openIn } from "../support/files.ts"
import { mode } from "../support/modes/mode.ts"

const fileOf = (folder: string, key: string) => join(folder, `${SqlitePool.fileName(key)}.db`)

const databases = Effect.fnUntraced(function*(options?: PoolMap.PoolMapConfig) {
  const folder = yield* temporaryFolder
  const map = yield* PoolMap.make({
    name: "customers",
    ...options,
    open: (key: string) =>
      Effect.tap(
        SqlitePool.make({
          filename: fileOf(folder, key),
          name: "customer",
          readers: 2,
          drainTimeout: 0,
          synchronous: "off"
        }),
        (db) => db.sql`create table if not exists note (id integer primary key, text text not null)`
      ),
    services: SqlitePool.services
  })
  return { folder, map }
})

describe("a map of SQLite databases", () => {
  it.live(
    "serves ten times as many keys as it may hold open, closes none under a lease, and leaves no descriptor",
    () =>
      Effect.gen(function*() {
        // Where each database has threads of its own, fewer take as long.
        const max = mode === "in-process" ? 100 : 6
        const { folder, map } = yield* databases({ max, acquireTimeout: "4 minutes", openTimeout: "4 minutes" })
        const keys = Array.from({ length: 10 * max }, (_, index) => `customer ${index}`)
        const leases = new Map<string, number>()
        const many = yield* Deferred.make<void>()
        let [mostOpen, mostLeased] = [0, 0]
        const look = Effect.gen(function*() {
          const { closing, idle, inUse, opening, total } = yield* map.stats
          assert.isAtMost(total, max)
          assert.strictEqual(total, closing + idle + inUse + opening)
          // The database files themselves, without their logs.
          mostOpen = Math.max(mostOpen, new Set(openIn(folder).filter((file) => file.endsWith(".db"))).size)
          assert.isAtMost(mostOpen, max)
        })
        const visit = (key: string) =>
          map.use(key, (db) =>
            Effect.gen(function*() {
              leases.set(key, (leases.get(key) ?? 0) + 1)
              mostLeased = Math.max(mostLeased, leases.size)
              // The first wait for each other, so that many are leased at the same time on any machine.
              if (leases.size > max / 2) yield* Deferred.succeed(many, undefined)
              yield* Deferred.await(many)
              yield* db.sql`insert into note (text) values (${key})`
              yield* Effect.sleep(yield* Random.nextBetween(0, 4))
              // A database that was closed meanwhile would refuse this.
              const rows = yield* db.sql<{ text: string }>`select distinct text from note`
              assert.deepStrictEqual(rows, [{ text: key }])
              const left = leases.get(key)! - 1
              if (left === 0) leases.delete(key)
              else leases.set(key, left)
            }))
        const order = yield* Random.shuffle([...keys, ...keys.slice(0, 5 * max), ...keys.slice(0, max / 2)])
        const watcher = yield* Effect.forkChild(Effect.forever(Effect.andThen(look, Effect.sleep(20))))
        // More than there is room for.
        yield* Effect.forEach(order, visit, { concurrency: 1.6 * max, discard: true })
        assert.isUndefined(watcher.pollUnsafe(), "there were too many")
        yield* Fiber.interrupt(watcher)
        yield* look
        const stats = yield* map.stats
        assert.strictEqual(stats.hits + stats.misses, order.length)
        assert.isAtLeast(stats.opens, keys.length)
        assert.strictEqual(stats.evictions.room, stats.opens - stats.total)
        assert.strictEqual(mostOpen, max)
        assert.isAbove(mostLeased, max / 2)
        assert.isAbove(openIn(folder).length, max)
        yield* map.shutdown()
        assert.deepStrictEqual(openIn(folder), [])
        // Each log was moved to its file.
        assert.deepStrictEqual(readdirSync(folder).filter((file) => !file.endsWith(".db")), [])
        assert.strictEqual(readdirSync(folder).length, keys.length)
      }),
    300_000
  )

  it.live("replaces a database that somebody has shut down", () =>
    Effect.gen(function*() {
      const { folder, map } = yield* databases()
      const db = yield* map.use("ada", Effect.succeed)
      yield* db.shutdown()
      const rows = yield* map.use("ada", (again) => {
        assert.notStrictEqual(again, db)
        return again.sql`select * from note`
      })
      assert.deepStrictEqual(rows, [])
      assert.isAbove(openIn(folder).length, 0)
    }))

  it.live("does not close a database with a reader or a writer that is out, although nobody has it from the map", () =>
    Effect.gen(function*() {
      const { map } = yield* databases({ max: 1 })
      const ada = yield* map.use("ada", Effect.succeed)
      for (const side of [ada.writer, ada.readers]) {
        yield* side.use((connection) =>
          Effect.gen(function*() {
            assert.strictEqual(PoolMap.stateOf(ada), "in use")
            yield* PoolAssert.failsWith(map.use("bob", () => Effect.void, { timeout: 10 }), "PoolMapTimeoutError")
            assert.deepStrictEqual(yield* connection.query("select count(*) as n from note"), [{ n: 0 }])
          })
        )
      }
      assert.strictEqual(PoolMap.stateOf(ada), "idle")
      yield* map.use("bob", () => Effect.void)
      assert.strictEqual(PoolMap.stateOf(ada), "closed")
      assert.strictEqual(PoolMap.stateOf({ writer: 1 }), "idle")
    }))

  it.live("gives services written for one SqlClient the database of a key, in transactions too", () =>
    Effect.gen(function*() {
      const { map } = yield* databases()
      const add = (text: string) =>
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(sql`insert into note ${sql.insert({ text })}`))
      const notes = Effect.flatMap(
        SqlClient.SqlClient,
        (sql) => sql<{ text: string }>`select text from note order by id`
      )
      yield* map.provide("ada", Effect.andThen(add("one"), add("two")))
      yield* map.provide("bob", add("three"))
      // A transaction of one customer says nothing about the database of another.
      yield* map.provide(
        "ada",
        Effect.gen(function*() {
          const db = yield* SqlitePool.SqlitePool
          yield* db.transaction(Effect.andThen(add("four"), map.provide("bob", add("five"))))
        })
      )
      const texts = (key: string) => Effect.map(map.provide(key, notes), (rows) => rows.map(({ text }) => text))
      assert.deepStrictEqual(yield* texts("ada"), ["one", "two", "four"])
      assert.deepStrictEqual(yield* texts("bob"), ["three", "five"])
    }))

  it.live("holds services that are built for each customer", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      class Notes extends Context.Service<Notes, { readonly count: Effect.Effect<number, unknown> }>()("Notes") {
        static readonly layer = Layer.effect(
          Notes,
          Effect.gen(function*() {
            const sql = yield* SqlClient.SqlClient
            yield* sql`create table if not exists note (id integer primary key)`
            return {
              count: Effect.map(sql`insert into note default values returning id`, (rows) => Number(rows[0]!["id"]))
            }
          })
        )
      }
      const map = yield* PoolMap.make({
        max: 1,
        open: (key: string) =>
          Layer.build(Layer.provideMerge(Notes.layer, SqlitePool.layer({ filename: fileOf(folder, key), readers: 1 }))),
        services: (context) => context,
        stateOf: (context) => PoolMap.stateOf(Context.get(context, SqlitePool.SqlitePool))
      })
      const count = (key: string) => map.provide(key, Effect.flatMap(Notes, (notes) => notes.count))
      assert.deepStrictEqual(yield* Effect.forEach(["ada", "bob", "ada", "ada", "bob"], count), [1, 1, 2, 3, 2])
      assert.strictEqual((yield* map.stats).opens, 4)
    }))

  it.live("tells those who wait that a file cannot be opened or migrated, and leaves nothing open", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const map = yield* PoolMap.make({
        open: (key: string) =>
          Effect.tap(
            SqlitePool.make({ filename: join(folder, key, "a.db") }),
            (db) => db.sql`create table nonsense`
          )
      })
      const error = yield* PoolAssert.failsWith(map.use("missing folder", () => Effect.void), "ConnectError")
      assert.include(error.message, "missing folder")
      const other = yield* PoolAssert.failsWith(map.use("", () => Effect.void), "SqlError")
      assert.strictEqual(other.message, "incomplete input")
      // Callers are told before the pool is closed, and a thread closes its file in its own time.
      while ((yield* map.stats).total > 0) yield* Effect.sleep("5 millis")
      assert.deepStrictEqual(openIn(folder), [])
    }))
})

describe("the name of a file for a key", () => {
  it("stays in its folder, whatever the key is, and is another for each key", () => {
    const keys = [
      "ada",
      "Ada",
      "ADA",
      "",
      ".",
      "..",
      "../../etc/passwd",
      "/etc/passwd",
      "a/b",
      "a\\b",
      "a b",
      "a=b",
      "=41da",
      "con",
      "CON",
      "com1",
      "-rf",
      "a\0b",
      "é",
      "e\u0301",
      "\ud800",
      "\ud801",
      "\ufffd",
      "😀",
      "x".repeat(160),
      "x".repeat(161),
      `${"x".repeat(161)}y`,
      "file:a?mode=memory",
      ":memory:"
    ]
    const names = keys.map(SqlitePool.fileName)
    for (const name of names) {
      assert.match(name, /^[a-z0-9_=][a-z0-9_=-]{0,159}$/)
      assert.notMatch(name, /^(?:con|prn|aux|nul|com\d|lpt\d)$/)
    }
    assert.strictEqual(new Set(names).size, keys.length)
    assert.deepStrictEqual(["ada", "Ada/1", "..", "", "con", "é😀"].map(SqlitePool.fileName), [
      "ada",
      "=41da=2f1",
      "=2e=2e",
      "=",
      "=63on",
      "=e9=ud83d=ude00"
    ])
  })
})
