/**
 * How does one import a large file into SQLite beside a service that goes on? With `batch`: a stream of rows, one transaction,
 * a progress bar, and an error that names the bad line.
 *
 *     npm run example -- import-with-progress                     # 200 000 lines that it makes itself
 *     npm run example -- import-with-progress visits.csv 10000    # a file of yours: `path,millis`; a commit for each 10 000
 *
 * The bar is drawn on a terminal only.
 */
import { SingleBar } from "cli-progress"
import { Console, Data, Effect, Fiber, Option, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { createReadStream, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"

class UnreadableError extends Data.TaggedError("UnreadableError")<{ readonly cause: unknown }> {}

/** Imports a file, and returns how many rows it had. */
const importVisits = Effect.fnUntraced(function*(file: string, commitEvery: number) {
  const db = yield* SqlitePool.SqlitePool
  const input = createReadStream(file)
  const lines = Stream.fromAsyncIterable(createInterface({ input }), (cause) => new UnreadableError({ cause }))
  const rows = Stream.map(lines, (line) => {
    const [path = "", millis = ""] = line.split(",")
    // Text that is no number is stored as it is, which the table refuses.
    return [path, millis.trim() === "" || Number.isNaN(Number(millis)) ? millis : Number(millis)]
  })
  const bar = new SingleBar({ format: "{bar} {percentage}% | {rows} rows" })
  bar.start(statSync(file).size, 0, { rows: 0 })
  // A piece of a thousand rows costs little more than a piece of one.
  const progress = db.batch("insert into visit(path, millis) values (?, ?)", Stream.rechunk(rows, 1000), {
    commitEvery,
    label: "import"
  })
  const end = yield* progress.pipe(
    Stream.tap(({ rows }) => Effect.sync(() => bar.update(input.bytesRead, { rows }))),
    Stream.runLast,
    Effect.ensuring(Effect.sync(() => bar.stop()))
  )
  return Option.match(end, { onNone: () => 0, onSome: ({ stored }) => stored })
})

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "import-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

/** Writes a file with so many lines, of which one may be bad. */
const makeFile = (file: string, lines: number, bad?: number) =>
  Effect.sync(() => {
    const line = (at: number) => at === bad ? "/broken,soon" : `/page/${at % 100},${at % 250}`
    writeFileSync(file, Array.from({ length: lines }, (_, at) => line(at)).join("\n"))
    return file
  })

const [given, commitEvery] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const db = yield* SqlitePool.SqlitePool
  yield* db.sql`create table visit (path text not null, millis integer not null) strict`
  if (given !== undefined) {
    const stored = yield* importVisits(given, commitEvery === undefined ? Infinity : Number(commitEvery))
    return yield* Console.log(`${stored} rows are stored`)
  }
  // Somebody reads all the time, and does not wait for the import.
  let reads = 0
  const read = Effect.tap(db.sql`select count(*) from visit`, () => Effect.sync(() => reads++))
  const service = yield* Effect.forkChild(Effect.forever(Effect.andThen(read, Effect.sleep("5 millis"))))
  const files = yield* folder
  const good = yield* makeFile(join(files, "good.csv"), 200_000)
  console.log(`${yield* importVisits(good, Infinity)} rows are stored`)
  console.log(`others were served meanwhile: ${reads > 10}`)
  yield* Fiber.interrupt(service)

  const bad = yield* makeFile(join(files, "bad.csv"), 50_000, 40_117)
  yield* importVisits(bad, Infinity).pipe(
    Effect.catchTag(
      "BatchError",
      ({ cause, row, stored }) => Console.log(`line ${row + 1}: ${cause.message}; ${stored} of its rows are stored`)
    )
  )
  console.log(yield* db.sql`select count(*) as rows, sum(millis) as millis from visit`.values)
}).pipe(Effect.scoped, Effect.provide(SqlitePool.layerTemporary()))

await Effect.runPromise(program)

/* Prints:
200000 rows are stored
others were served meanwhile: true
line 40118: cannot store TEXT value in INTEGER column visit.millis; 0 of its rows are stored
[ [ 200000, 24900000 ] ]
*/
