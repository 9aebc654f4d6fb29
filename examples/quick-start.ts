/**
 * How do I open a SQLite database, write to it and read from it?
 *
 *     npm run example -- quick-start
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"

const program = Effect.gen(function*() {
  const pool = yield* SqlitePool.SqlitePool

  // One connection writes. Fibers that want it wait in line, and those that write at the same time share a commit.
  yield* pool.sql`create table planet(name text primary key, moons integer not null)`
  const planets = [["Earth", 1], ["Mars", 2], ["Jupiter", 97]] as const
  yield* Effect.forEach(
    planets,
    ([name, moons]) => pool.sql`insert into planet(name, moons) values (${name}, ${moons})`,
    { concurrency: "unbounded" }
  )

  // Other connections read, and do not wait for a writer.
  const rows = yield* pool.read((reader) =>
    reader.query("select name, moons from planet where moons >= :least order by moons", { least: 2 })
  )
  for (const row of rows) yield* Console.log(`${row["name"]} has ${row["moons"]} moons`)

  // Many rows come as a stream, a few at a time.
  const moons = yield* pool.stream("select moons from planet").pipe(
    Stream.runFold(() => 0, (sum, row) => sum + Number(row["moons"]))
  )
  yield* Console.log(`${moons} moons in all`)

  // A failure is a value, with a type.
  const error = yield* Effect.flip(pool.sql`insert into planet(name, moons) values ('Mars', 2)`)
  yield* Console.log(`${error._tag}: ${error.message}`)
})

// The layer opens the file and closes it. `SqlitePool.layer({ filename: "app.db" })` is for a file that stays.
program.pipe(Effect.provide(SqlitePool.layerTemporary()), NodeRuntime.runMain)

/* Prints:
Mars has 2 moons
Jupiter has 97 moons
100 moons in all
SqlError: UNIQUE constraint failed: planet.name
*/
