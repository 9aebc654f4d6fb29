/**
 * How do I build a service on a SQLite database: with migrations, a model, health, metrics, and an end that loses nothing?
 *
 *     POST /notes     stores a note: {"text": "..."}
 *     GET  /notes     the last twenty
 *     GET  /report    the words that are used most: it reads all notes, on a worker, so that everything else goes on
 *     GET  /health    200, or 503 if the service should get no requests; the report as JSON
 *     GET  /metrics   for Prometheus
 *     GET  /pool      the file, the numbers of all sides, their connections, and who holds them
 *     GET  /inspector a page that shows all that, live; only with NOTES_INSPECTOR_PASSWORD, and for the user "operator"
 *     POST /exercise  troubles to practise with, while that page is open; only with NOTES_EXERCISES=on
 *
 * On SIGTERM it says on /health that it is going, and goes on answering for a moment; then it accepts nothing new,
 * answers what it has accepted, closes the database, and prints how that went.
 *
 *     npm run example -- http-service
 *     PORT=8080 NOTES_FILENAME=./notes.db NOTES_READERS=8 NOTES_HEALTH_INTERVAL=5s npm run example -- http-service
 *
 * Without `NOTES_FILENAME` its database is in a temporary folder, which is deleted in the end.
 */
import { NodeHttpServer, NodeRuntime, NodeServices } from "@effect/platform-node"
import {
  Cause,
  Config,
  ConfigProvider,
  Console,
  Context,
  Effect,
  Exit,
  FileSystem,
  Layer,
  Option,
  Path,
  Redacted,
  Schema
} from "effect"
import { HealthChecker, HealthReport } from "effect-connection-pool"
import { Inspector } from "effect-connection-pool/inspector"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { Model } from "effect/schema"
import { Migrator, SqlClient, SqlModel, SqlSchema } from "effect/sql"
import { isSqlError } from "effect/sql/SqlError"
import { createHash, timingSafeEqual } from "node:crypto"
import { createServer } from "node:http"

// ---------------------------------------------------------------------------------------------------------------------
// The database, and its health
// ---------------------------------------------------------------------------------------------------------------------

const Database = Layer.unwrap(Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folder = yield* files.makeTempDirectoryScoped({ prefix: "notes-" })
  const temporary = ConfigProvider.fromUnknown({ NOTES: { FILENAME: path.join(folder, "notes.db") } })
  const given = yield* ConfigProvider.ConfigProvider
  const options = yield* SqlitePool.config("NOTES").pipe(
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.orElse(given, temporary))
  )
  return SqlitePool.layer({
    name: "notes",
    // Clients get an answer within two seconds. One client too many gets it at once.
    acquireTimeout: "1 second",
    busyTimeout: "1 second",
    maxWaiting: 200,
    // For the report.
    workers: 1,
    slowStatement: "100 millis",
    ...options
  })
})).pipe(
  // When it is closed below, no fiber uses it any more.
  Layer.tap((context) => {
    const db = Context.get(context, SqlitePool.SqlitePool)
    return Effect.addFinalizer(() =>
      Effect.flatMap(db.shutdown(), (report) => Console.log(`database closed: ${JSON.stringify(report)}`))
    )
  }),
  Layer.provide(NodeServices.layer)
)

/** Of all sides: the one that writes, those that read, and the worker. What lasts shorter than the interval may go unseen. */
class NotesHealth extends HealthChecker.Service<NotesHealth>()("notes/NotesHealth") {
  static readonly live = Layer.unwrap(
    Effect.map(
      HealthChecker.config("NOTES_HEALTH"),
      (config) => NotesHealth.layer(SqlitePool.SqlitePool, { interval: "1 second", ...config })
    )
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// What it stores
// ---------------------------------------------------------------------------------------------------------------------

const Migrations = Layer.effectDiscard(
  Migrator.make({})({
    loader: Migrator.fromRecord({
      "0001_note": Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table note (id integer primary key, text text not null)`
      }),
      "0002_created_at": Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`alter table note add column created_at text not null default '1970-01-01T00:00:00.000Z'`
      })
    })
  })
)

const NoteId = Schema.Int.pipe(Schema.brand("NoteId"))

class Note extends Model.Class<Note>("Note")({
  // The database numbers them.
  id: Model.Field({ select: NoteId, update: NoteId, json: NoteId }),
  text: Schema.NonEmptyString,
  created_at: Model.DateTimeInsert
}) {}

class Notes extends Context.Service<Notes>()("notes/Notes", {
  make: Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const repository = yield* SqlModel.makeRepository(Note, { tableName: "note", spanPrefix: "Notes", idColumn: "id" })
    const latest = SqlSchema.findAll({
      Request: Schema.Int,
      Result: Note,
      execute: (count) => sql`select * from note order by id desc limit ${count}`
    })
    const mostUsed = SqlSchema.findAll({
      Request: Schema.Int,
      Result: Schema.Struct({ word: Schema.String, times: Schema.Int }),
      execute: (count) =>
        sql`
          with recursive word(rest, word) as (
            select lower(text) || ' ', '' from note
            union all
            select substr(rest, instr(rest, ' ') + 1), substr(rest, 1, instr(rest, ' ') - 1) from word where rest <> ''
          )
          select word, count(*) as times from word where word <> '' group by word order by times desc, word limit ${count}`
    })
    return { insert: repository.insert, latest, mostUsed }
  })
}) {
  static readonly live = Layer.effect(Notes, Notes.make).pipe(Layer.provide(Migrations))
}

// ---------------------------------------------------------------------------------------------------------------------
// What it answers
// ---------------------------------------------------------------------------------------------------------------------

/** There is no connection, or another process has the lock: both pass, so the client is asked to come back later. */
const orLater = <E, R>(answer: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
  Effect.catchIf(answer, (error) => isSqlError(error) && error.isRetryable, (error) =>
    Effect.succeed(
      HttpServerResponse.jsonUnsafe({ message: String(error) }, { status: 503, headers: { "retry-after": "1" } })
    ))

const store = Effect.gen(function*() {
  const notes = yield* Notes
  const { text } = yield* HttpServerRequest.schemaBodyJson(Note.jsonCreate)
  const note = yield* notes.insert(Note.insert.make({ text }))
  return yield* HttpServerResponse.schemaJson(Note.json)(note, { status: 201 })
}).pipe(orLater)

const list = Effect.gen(function*() {
  const notes = yield* Notes
  return yield* HttpServerResponse.schemaJson(Schema.Array(Note.json))(yield* notes.latest(20))
}).pipe(orLater)

const words = Effect.gen(function*() {
  const notes = yield* Notes
  return HttpServerResponse.jsonUnsafe(yield* notes.mostUsed(10))
})

/** With many notes, it takes a second. Only the one who asks waits for it. */
const report = SqlitePool.onWorker(words).pipe(orLater)

/** Whether the service is about to stop. */
class Life extends Context.Service<Life, { isStopping: boolean }>()("notes/Life") {
  static readonly live = Layer.sync(Life, () => ({ isStopping: false }))
}

const health = Effect.gen(function*() {
  const { isStopping } = yield* Life
  const report = yield* (yield* NotesHealth).report
  const body = { isStopping, ...Schema.encodeSync(HealthReport.HealthReport)(report) }
  return HttpServerResponse.jsonUnsafe(body, { status: isStopping || report.status === "unhealthy" ? 503 : 200 })
})

type Side = Pick<SqlitePool.SqlitePool["writer"], "holders" | "connections">

const look = Effect.gen(function*() {
  const { filename, readers, stats, workers, writer } = yield* SqlitePool.SqlitePool
  const each = <A>(of: (side: Side) => Effect.Effect<A>) =>
    Effect.all({ writer: of(writer), readers: of(readers), ...(workers === undefined ? {} : { workers: of(workers) }) })
  return HttpServerResponse.jsonUnsafe({
    filename,
    stats: yield* stats,
    holders: yield* each(({ holders }) => holders),
    connections: yield* each(({ connections }) => connections)
  })
})

/** The page that shows the pool, for those who know the password. Without a password there is no page. */
const inspector = Layer.unwrap(Effect.gen(function*() {
  const password = yield* Config.option(Config.Redacted("NOTES_INSPECTOR_PASSWORD"))
  if (Option.isNone(password)) return Layer.empty
  const db = yield* SqlitePool.SqlitePool
  const health = yield* NotesHealth
  const hash = (text: string) => createHash("sha256").update(text).digest()
  const expected = hash(`Basic ${Buffer.from(`operator:${Redacted.value(password.value)}`).toString("base64")}`)
  const logIn = HttpServerResponse.text("log in as operator", {
    status: 401,
    headers: { "www-authenticate": "Basic realm=\"notes\", charset=\"UTF-8\"" }
  })
  return Inspector.layer({
    watch: [db],
    health: [health],
    authorization: (route) =>
      Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) =>
        // Takes as long for a wrong password as for the right one.
        timingSafeEqual(hash(headers["authorization"] ?? ""), expected) ? route : Effect.succeed(logIn))
  })
}))

/**
 * Troubles to practise with: `/exercise/leak` keeps a reader and never gives it back, `/exercise/report` runs a slow
 * statement in process, and `/exercise/words` the report, which `/report` runs on a worker. Who wants an outage locks the file from outside, as `lock.ts` does.
 */
const exercises = Layer.unwrap(Effect.gen(function*() {
  if (!(yield* Config.Boolean("NOTES_EXERCISES").pipe(Config.withDefault(false)))) return Layer.empty
  const db = yield* SqlitePool.SqlitePool
  const leak = Effect.ignore(db.read(() => Effect.never, { label: "nightly export" }))
  const text =
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000000) select count(*) from n"
  const slow = db.read((reader) => reader.values(text), { label: "report" })
  return Layer.mergeAll(
    HttpRouter.add(
      "POST",
      "/exercise/leak",
      Effect.as(Effect.forkDetach(leak), HttpServerResponse.empty({ status: 202 }))
    ),
    HttpRouter.add("POST", "/exercise/report", Effect.as(slow, HttpServerResponse.empty()).pipe(orLater)),
    HttpRouter.add("POST", "/exercise/words", SqlitePool.inProcess(words).pipe(orLater))
  )
}))

const routes = Layer.mergeAll(
  HttpRouter.add("POST", "/notes", store),
  HttpRouter.add("GET", "/notes", list),
  HttpRouter.add("GET", "/report", report),
  HttpRouter.add("GET", "/health", health),
  HttpRouter.add("GET", "/pool", look),
  inspector,
  exercises,
  PrometheusMetrics.layerHttp()
)

/** Clients are asked to look for another connection as soon as this service is about to stop. */
const hangUp = HttpRouter.middleware(
  Effect.map(
    Life,
    (life) => (effect) =>
      Effect.map(
        effect,
        (response) => life.isStopping ? HttpServerResponse.setHeader(response, "connection", "close") : response
      )
  ),
  { global: true }
)

// ---------------------------------------------------------------------------------------------------------------------
// Start and end. What is provided to another is closed after it.
// ---------------------------------------------------------------------------------------------------------------------

const server = Layer.unwrap(Effect.gen(function*() {
  const port = yield* Config.Int("PORT").pipe(Config.withDefault(3000))
  return NodeHttpServer.layer(createServer, { port })
}))

/** The first thing that ends: from now on, load balancers see on /health that they should send nothing more. */
const lameDuck = Layer.effectDiscard(Effect.gen(function*() {
  const life = yield* Life
  const grace = yield* Config.Duration("STOP_GRACE").pipe(Config.withDefault("1 second"))
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      life.isStopping = true
      return Effect.andThen(Console.log("stopping"), Effect.sleep(grace))
    })
  )
}))

const service = lameDuck.pipe(
  Layer.provideMerge(HttpRouter.serve(Layer.merge(routes, hangUp), { disableLogger: true })),
  Layer.provide(server),
  Layer.provide([NotesHealth.live, Notes.live]),
  Layer.provide(Database),
  Layer.provide(Life.live)
)

// To be told to stop is no failure.
NodeRuntime.runMain(Layer.launch(service), {
  teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause) ? 0 : 1)
})
