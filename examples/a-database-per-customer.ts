/**
 * A database for each customer: a thousand customers, of whom at most a hundred have their database open at a time.
 *
 * Each request knows its customer, and the code that it runs does not: it asks for Effect's `SqlClient`. The first request
 * of a customer opens the file and brings its schema up to date.
 *
 *     npm run example -- a-database-per-customer
 */
import { NodeRuntime } from "@effect/platform-node"
import { Array, Effect, Random, type Scope, Stream } from "effect"
import { type PoolError, PoolMap } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqlClient, type SqlError } from "effect/sql"
import assert from "node:assert/strict"
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const folder = mkdtempSync(join(tmpdir(), "customers-"))

const customers = Array.makeBy(1000, (index) => `customer/${index}@example.com`)

type OpenError = PoolError.PoolConfigError | PoolError.ConnectError<SqlError.SqlError> | SqlError.SqlError

const open = (customer: string): Effect.Effect<SqlitePool.SqlitePool, OpenError, Scope.Scope> =>
  Effect.gen(function*() {
    const db = yield* SqlitePool.make({
      // A key such as `../secret` stays in the folder.
      filename: join(folder, `${SqlitePool.fileName(customer)}.db`),
      // One name for all: their metrics are one series.
      name: "customer",
      readers: 1,
      // This example may lose its data.
      synchronous: "off"
    })
    yield* db.sql`create table if not exists note (id integer primary key, text text not null)`
    return db
  })

class Customers extends PoolMap.Service<
  Customers,
  string,
  SqlitePool.SqlitePool,
  OpenError,
  SqlitePool.SqlitePool | SqlClient.SqlClient
>()("app/Customers") {}

/** Writes a note, and returns how many there are. */
const note = (text: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    return yield* sql.withTransaction(Effect.gen(function*() {
      yield* sql`insert into note ${sql.insert({ text })}`
      const [row] = yield* sql<{ count: number }>`select count(*) as count from note`
      return row!.count
    }))
  })

/** The file behind a descriptor of this process. Some are closed before this asks. */
const fileBehind = (descriptor: string): string => {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`)
  } catch {
    return ""
  }
}

/** How many descriptors this process has in the folder. 0 where the system does not tell. */
const descriptors = (): number =>
  existsSync("/proc/self/fd")
    ? readdirSync("/proc/self/fd").filter((descriptor) => fileBehind(descriptor).startsWith(folder)).length
    : 0

const program = Effect.gen(function*() {
  const map = yield* Customers
  let most = 0
  yield* Effect.forkScoped(Stream.runForEach(map.events, () =>
    Effect.map(map.stats, ({ total }) => {
      most = Math.max(most, total)
    })))
  // Each customer has four requests, in any order beside those of others. Eighty run at once.
  const visits = yield* Effect.forEach(
    Array.chunksOf(customers, 50),
    (some) => Random.shuffle([...some, ...some, ...some, ...some])
  )
  const counts = new Map<string, number>()
  yield* Effect.forEach(
    visits.flat(),
    (customer) =>
      Effect.map(
        map.provide(customer, note("hello")),
        (count) => counts.set(customer, Math.max(count, counts.get(customer) ?? 0))
      ),
    { concurrency: 80 }
  )
  // Each has their own notes, and all of them.
  assert.ok(customers.every((customer) => counts.get(customer) === 4))
  const { evictions, hits, misses, timeouts, total } = yield* map.stats
  console.log(`${hits + misses} requests of ${customers.length} customers were served, ${timeouts} were not`)
  console.log(`at most ${Math.max(most, total)} databases were open, ${total} are open now`)
  console.log(evictions.room >= 900 ? "others were closed to make room" : "there was room for all")
  yield* map.shutdown()
  console.log(`after the shutdown: ${descriptors()} descriptors in the folder, ${readdirSync(folder).length} files`)
}).pipe(
  Effect.scoped,
  Effect.provide(Customers.layer({ name: "customers", max: 100, open, services: SqlitePool.services })),
  Effect.ensuring(Effect.sync(() => rmSync(folder, { recursive: true })))
)

program.pipe(NodeRuntime.runMain)

/* Prints:
4000 requests of 1000 customers were served, 0 were not
at most 100 databases were open, 100 are open now
others were closed to make room
after the shutdown: 0 descriptors in the folder, 1000 files
*/
