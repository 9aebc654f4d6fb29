/**
 * Does code for Effect's `SqlClient` run on the pool: migrations, a model with its repository, a resolver?
 *
 *     npm run example -- migrations-and-a-model
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Schema } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { Model } from "effect/schema"
import { Migrator, SqlClient, SqlModel, SqlResolver } from "effect/sql"

const BookId = Schema.Int.pipe(Schema.brand("BookId"))

class Book extends Model.Class<Book>("Book")({
  // The database numbers them, so an insert has none.
  id: Model.Field({ select: BookId, update: BookId, json: BookId }),
  title: Schema.NonEmptyString,
  author: Schema.NonEmptyString
}) {}

// Each runs once, in a transaction, in the order of the numbers. From a folder of modules: `fromFileSystem(folder)` of
// `effect/sql/MigratorFileSystem` as the loader.
const Migrations = Layer.effectDiscard(
  Migrator.make({})({
    loader: Migrator.fromRecord({
      "0001_books": Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table books (id integer primary key, title text not null)`
      }),
      "0002_authors": Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`alter table books add column author text not null default 'unknown'`
      })
    })
  })
)

// The layer provides `SqlClient` as well as the pool: nothing below knows which database it is.
const Database = Migrations.pipe(Layer.provideMerge(SqlitePool.layerTemporary()))

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const books = yield* SqlModel.makeRepository(Book, { tableName: "books", spanPrefix: "Books", idColumn: "id" })

  const titles = [["Middlemarch", "Eliot"], ["Emma", "Austen"], ["Persuasion", "Austen"]] as const
  // Together or not at all.
  yield* sql.withTransaction(Effect.forEach(titles, ([title, author]) => books.insert({ title, author })))
  const renamed = yield* books.update({ id: BookId.make(2), title: "Emma, in three volumes", author: "Austen" })
  yield* Console.log(`renamed: ${renamed.title}`)

  // The requests of many fibers at once become one statement, and that runs on a reader.
  const findById = SqlResolver.findById({
    Id: BookId,
    Result: Book,
    ResultId: (book) => book.id,
    execute: (ids) => Effect.tap(sql`select * from books where ${sql.in("id", ids)}`, Console.log(`asked for ${ids}`))
  })
  const found = yield* Effect.forEach([1, 2, 3], (id) => SqlResolver.request(BookId.make(id), findById), {
    concurrency: "unbounded"
  })
  for (const book of found) yield* Console.log(`${book.id}: ${book.title}, by ${book.author}`)

  const pool = yield* SqlitePool.SqlitePool
  const { readers, writer } = yield* pool.stats
  yield* Console.log(`${writer.checkouts} leases to write, ${readers.checkouts} to read`)
})

program.pipe(Effect.provide(Database), NodeRuntime.runMain)

/* Prints:
renamed: Emma, in three volumes
asked for 1,2,3
1: Middlemarch, by Eliot
2: Emma, in three volumes, by Austen
3: Persuasion, by Austen
4 leases to write, 1 to read
*/
