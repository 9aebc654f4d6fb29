/**
 * How does a list in the browser stay up to date while others write? With a query that is observed, sent over server-sent
 * events. The page has no library, and nobody tells it what has changed.
 *
 *     GET  /        the page: a list, and a field for a new task
 *     GET  /events  the open tasks, and again after each commit that has changed them
 *     POST /tasks   adds a task; the body is its title
 *
 *     npm run example -- live-list                                  # a program reads the list, others write, and it ends
 *     PORT=8080 TASKS=./tasks.db npm run example -- live-list       # stays: open http://localhost:8080 twice, and type
 *
 * With a file of your own, write to it from anywhere: `sqlite3 tasks.db "update task set done = 1"`. The page shows it.
 */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Option, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import { execFile } from "node:child_process"
import { createServer } from "node:http"
import { promisify } from "node:util"

const page = `<!doctype html>
<html lang="en">
  <meta charset="utf-8">
  <title>Open tasks</title>
  <h1>Open tasks</h1>
  <ul id="tasks"></ul>
  <form id="add"><input id="title" placeholder="A new task" required autofocus> <button>Add</button></form>
  <script>
    // A browser connects again by itself, and gets the newest list at once.
    new EventSource("/events").onmessage = ({ data }) => {
      tasks.replaceChildren(...JSON.parse(data).map(({ title: text }) => {
        const item = document.createElement("li")
        item.textContent = text
        return item
      }))
    }
    add.onsubmit = async (event) => {
      event.preventDefault()
      await fetch("/tasks", { method: "POST", body: title.value })
      add.reset()
    }
  </script>
</html>`

const filename = Config.option(Config.String("TASKS"))

/** In a file of one's own, or in a temporary one. */
const Database = Layer.unwrap(Effect.map(filename, (given) =>
  Option.match(given, {
    onNone: () => SqlitePool.layerTemporary(),
    onSome: (filename) => SqlitePool.layer({ filename })
  })))

const Schema = Layer.effectDiscard(Effect.gen(function*() {
  const { sql } = yield* SqlitePool.SqlitePool
  yield* sql`create table if not exists task(id integer primary key, title text not null, done integer not null default 0)`
}))

const Routes = HttpRouter.addAll([
  HttpRouter.route("GET", "/", Effect.succeed(HttpServerResponse.html(page))),
  HttpRouter.route(
    "GET",
    "/events",
    Effect.map(SqlitePool.SqlitePool, ({ observe }) => {
      const lists = observe("select id, title from task where done = 0 order by id", [], { distinct: true })
      const events = Stream.map(lists, (tasks) => `data: ${JSON.stringify(tasks)}\n\n`)
      // A browser that is slow, or whose line is, gets the newest list, and no older ones after it.
      return HttpServerResponse.stream(Stream.encodeText(events), { contentType: "text/event-stream" })
    })
  ),
  HttpRouter.route(
    "POST",
    "/tasks",
    Effect.gen(function*() {
      const { sql } = yield* SqlitePool.SqlitePool
      const title = yield* (yield* HttpServerRequest.HttpServerRequest).text
      yield* sql`insert into task(title) values (${title})`
      return HttpServerResponse.empty({ status: 201 })
    })
  )
])

const serve = (port: number) =>
  HttpRouter.serve(Routes, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provide(Schema),
    Layer.provideMerge(Database),
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port }))
  )

// ---------------------------------------------------------------------------------------------------------------------
// Without PORT: a program in place of the browser, and others who write
// ---------------------------------------------------------------------------------------------------------------------

/** Runs a program in another process. */
const elsewhere = (code: string) => Effect.promise(() => promisify(execFile)(process.execPath, ["-e", code]))

const demonstration = Effect.gen(function*() {
  const { address } = yield* HttpServer.HttpServer
  const url = HttpServer.formatAddress(address).replace("0.0.0.0", "127.0.0.1")
  const { filename, sql, transaction } = yield* SqlitePool.SqlitePool

  const events = yield* Effect.promise((signal) => fetch(`${url}/events`, { signal }))
  const lists = yield* Stream.toPull(
    Stream.fromReadableStream({ evaluate: () => events.body!, onError: (cause) => new Error("events", { cause }) })
      .pipe(
        Stream.decodeText,
        Stream.splitLines,
        Stream.filter((line) => line.startsWith("data: ")),
        Stream.map((line) => JSON.parse(line.slice("data: ".length)) as ReadonlyArray<{ readonly title: string }>),
        Stream.rechunk(1)
      )
  )
  const shows = Effect.flatMap(
    lists,
    ([list]) => Console.log(`  the browser shows: ${list.map(({ title }) => title).join(", ") || "nothing"}`)
  )

  yield* shows
  yield* Console.log("the browser adds a task")
  yield* Effect.promise(() => fetch(`${url}/tasks`, { method: "POST", body: "buy milk" }))
  yield* shows
  yield* Console.log("another process adds a task")
  yield* elsewhere(
    `new (require("node:sqlite").DatabaseSync)(${
      JSON.stringify(filename)
    }).exec("insert into task(title) values ('call Ada')")`
  )
  yield* shows
  yield* Console.log("a transaction adds a task and is rolled back, and another table is changed: nothing is sent")
  yield* Effect.ignore(transaction(Effect.andThen(sql`insert into task(title) values ('never')`, Effect.fail("no"))))
  yield* sql`create table log(text)`
  yield* Console.log("a service marks the first task as done")
  yield* sql`update task set done = 1 where title = 'buy milk'`
  yield* shows
}).pipe(Effect.scoped)

const program = Effect.flatMap(
  Config.option(Config.Port("PORT")),
  Option.match({
    onNone: () => Effect.provide(demonstration, serve(0)),
    onSome: (port) => Layer.launch(serve(port))
  })
)

program.pipe(NodeRuntime.runMain)

/* Prints:
  the browser shows: nothing
the browser adds a task
  the browser shows: buy milk
another process adds a task
  the browser shows: buy milk, call Ada
a transaction adds a task and is rolled back, and another table is changed: nothing is sent
a service marks the first task as done
  the browser shows: call Ada
*/
