/**
 * A small HTTP service over a pool of SQLite connections, and everything an operator wants of it:
 *
 *     POST /notes     stores a note: {"text": "..."}
 *     GET  /notes     the last twenty
 *     GET  /health    200, or 503 if the service should get no requests; the report as JSON
 *     GET  /metrics   for Prometheus
 *     GET  /pool      the pool's numbers, its connections, and who holds them
 *
 * On SIGTERM it says on /health that it is going, and goes on answering for a moment; then it accepts nothing new,
 * answers what it has accepted, shuts the pool down, and prints how that went.
 *
 *     PORT=3000 NOTES_FILE=./notes.db DB_MAX=8 DB_HEALTH_INTERVAL=2s npm run http-service
 */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Cause, Config, Console, Context, Effect, Exit, Layer, Schedule, Schema } from "effect"
import { ConnectionPool, HealthChecker, HealthReport, PoolConfig } from "effect-connection-pool"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { createServer } from "node:http"

// ---------------------------------------------------------------------------------------------------------------------
// The pool and its health
// ---------------------------------------------------------------------------------------------------------------------

class Notes extends ConnectionPool.Service<Notes, SqliteConnection.SqliteConnection, SqlError>()("notes/Notes") {
  static readonly live = Layer.unwrap(Effect.gen(function*() {
    const filename = yield* Config.String("NOTES_FILE").pipe(Config.withDefault("notes.db"))
    const config = yield* PoolConfig.config("DB")
    return Notes.layer({
      factory: {
        ...SqliteConnection.factory({ filename }),
        // A file does not go away as a server does; but it may become unreadable.
        validate: (connection) => Effect.as(connection.query("select count(*) from sqlite_schema"), true)
      },
      name: "notes",
      max: 4,
      maxWaiting: 200,
      acquireTimeout: "1 second",
      ...config
    })
  })).pipe(
    // Whoever shuts down below has nobody left who uses the pool.
    Layer.tap((context) => {
      const pool = Context.get(context, Notes)
      return Effect.addFinalizer(() =>
        pool.shutdown().pipe(
          Effect.flatMap((report) => Console.log(`pool closed: ${JSON.stringify(report)}`))
        )
      )
    })
  )
}

class NotesHealth extends HealthChecker.Service<NotesHealth>()("notes/NotesHealth") {
  static readonly live = Layer.unwrap(
    Effect.map(HealthChecker.config("DB_HEALTH"), (config) => NotesHealth.layer(Notes, config))
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// What it stores
// ---------------------------------------------------------------------------------------------------------------------

const createTable = Layer.effectDiscard(
  Effect.flatMap(
    Notes,
    (pool) =>
      pool.use((connection) =>
        connection.exec("create table if not exists note (id integer primary key, text text not null)")
      )
  )
)

/** While another process writes, SQLite refuses at once, and is asked again: for two seconds, without holding up others. */
const whileLocked = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.retry(effect, {
    while: (error) => isSqlError(error) && error.reason._tag === "LockTimeoutError",
    schedule: Schedule.max([Schedule.spaced("2 millis"), Schedule.during("2 seconds")])
  })

/** What a client gets when the pool has no connection for it, or the database no lock: come back later. */
const unavailable = (error: { readonly _tag: string; readonly message: string }) =>
  Effect.succeed(
    HttpServerResponse.jsonUnsafe({ error: error._tag, message: error.message }, {
      status: 503,
      headers: { "retry-after": "1" }
    })
  )

const store = Effect.gen(function*() {
  const pool = yield* Notes
  const { text } = yield* HttpServerRequest.schemaBodyJson(Schema.Struct({ text: Schema.String }))
  const { lastInsertRowid } = yield* pool.use(
    (connection) => whileLocked(connection.run("insert into note (text) values (?)", [text])),
    { label: "POST /notes" }
  )
  return HttpServerResponse.jsonUnsafe({ id: Number(lastInsertRowid) }, { status: 201 })
}).pipe(
  Effect.catchTag(["AcquireTimeoutError", "QueueFullError", "PoolClosedError", "ConnectError"], unavailable),
  Effect.catchReason("SqlError", "LockTimeoutError", unavailable)
)

const list = Effect.gen(function*() {
  const pool = yield* Notes
  const notes = yield* pool.useSync({
    try: (connection) => connection.queryUnsafe("select id, text from note order by id desc limit 20"),
    catch: SqliteConnection.failure
  }, { label: "GET /notes" })
  return HttpServerResponse.jsonUnsafe(notes)
}).pipe(
  Effect.catchTag(["AcquireTimeoutError", "QueueFullError", "PoolClosedError", "ConnectError"], unavailable),
  Effect.catchReason("SqlError", "LockTimeoutError", unavailable)
)

// ---------------------------------------------------------------------------------------------------------------------
// What an operator sees
// ---------------------------------------------------------------------------------------------------------------------

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

const look = Effect.gen(function*() {
  const pool = yield* Notes
  const [stats, holders, connections] = yield* Effect.all([pool.stats, pool.holders, pool.connections])
  return HttpServerResponse.jsonUnsafe({ stats, holders, connections })
})

const routes = Layer.mergeAll(
  HttpRouter.add("POST", "/notes", store),
  HttpRouter.add("GET", "/notes", list),
  HttpRouter.add("GET", "/health", health),
  HttpRouter.add("GET", "/pool", look),
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
  Layer.provide([NotesHealth.live, createTable]),
  Layer.provide(Notes.live),
  Layer.provide(Life.live)
)

// To be told to stop is no failure.
NodeRuntime.runMain(Layer.launch(service), {
  teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause) ? 0 : 1)
})
