/**
 * A page that shows what the pools of a process do, live: every connection on a time line, who holds it and for how long, the
 * line and its waits, events, the log of SQLite, health, and whether a bigger pool would help.
 *
 * `layer` adds the page to the routes of an application. `loopback` serves it on a port of its own, for programs of the same
 * machine only. The page is one document without a build step, and loads nothing from elsewhere.
 *
 * What it shows are other people's texts: labels and errors. So an application has to say who may see it (`authorization`).
 */
import { type Duration, Effect, Layer, type Scope } from "effect"
import { HttpMiddleware, HttpRouter, HttpServer, type HttpServerRequest, HttpServerResponse } from "effect/http"
import * as NetAddress from "effect/net/NetAddress"
import { randomUUID } from "node:crypto"
import type { HealthChecker } from "../HealthChecker.ts"
import type { HealthReport } from "../HealthReport.ts"
import { causeText } from "../internal/pool/causeText.ts"
import { PoolConfigError } from "../PoolError.ts"
import { guard, type Hosts, isLoopbackHost } from "./internal/guard.ts"
import { Kept } from "./internal/kept.ts"
import { type InspectorSettings, resolve, resolveLoopback } from "./internal/options.ts"
import { overview } from "./internal/overview.ts"
import * as Recorder from "./internal/recorder.ts"
import * as Routes from "./internal/routes.ts"
import * as Rows from "./internal/rows.ts"
import { sizes } from "./internal/sizes.ts"
import * as Sources from "./internal/sources.ts"
import { poolView } from "./internal/views.ts"

export type { AnyDatabase, AnyHost, AnyHostEvent, AnyMap, AnyPool, Watched } from "./internal/sources.ts"

/** What is shown. */
export interface ShownOptions {
  /** The pools, in the order in which the page lists them. Of more than 50, it lists the busiest first. */
  readonly watch: ReadonlyArray<Sources.Watched>
  /** The health checkers whose reports are shown. Default: none. */
  readonly health?: ReadonlyArray<HealthChecker> | undefined
  /**
   * How often it is looked at what each connection does. A lease that is shorter shows as a count. Default 1 second. One look
   * takes some microseconds for each connection, in steps of less than a millisecond or two, between which others run.
   */
  readonly interval?: Duration.Input | undefined
  /**
   * How far back the time line goes, at most 3600 intervals. Default 5 minutes. It is kept in memory, some 40 MB of it at the
   * most: of many pools, fewer connections are drawn, or it goes back less far.
   */
  readonly history?: Duration.Input | undefined
}

/**
 * Who may see the page, or act. It gets the route as an Effect, and returns it for those who may, and a response with status
 * 401 or 403 for all others. A middleware of `effect/http` is one.
 */
export type Authorization<E, R> = (
  route: Effect.Effect<HttpServerResponse.HttpServerResponse, never, HttpServerRequest.HttpServerRequest>
) => Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>

/** The options of `layer`. */
export interface Options<E = never, R = never, E2 = never, R2 = never> extends ShownOptions {
  /** Where the page is. Default `"/inspector"`. */
  readonly path?: string | undefined
  /** Who may see the page and what it shows. */
  readonly authorization: Authorization<E, R>
  /**
   * Who may pause, resume, resize, check and recycle pools with the page. They must also have `authorization`. Default: nobody;
   * then the page has no buttons, and the server no such route.
   */
  readonly actions?: Authorization<E2, R2> | undefined
  /**
   * The hosts in the address of the page, with a port that is not the default one: `["ops.example.com", "localhost:3000"]`.
   * Requests for other hosts are refused, so that nobody can let a name of his own point to the server. Must be given with
   * `actions`. Default: all hosts.
   */
  readonly hosts?: ReadonlyArray<string> | undefined
}

/**
 * Adds the page to the routes of an application.
 *
 * It records from the moment the layer is built, so the page has the last minutes when somebody opens it. That costs the
 * leases nothing, and neither do pages that are open: they ask once in each `interval` while they can be seen.
 *
 * One layer has one page for all pools of the process. Fails with `PoolConfigError` if the options are invalid, or if the
 * router has a route at `path` already, such as the page of another inspector.
 *
 * ```ts
 * import { Effect, Layer, Redacted } from "effect"
 * import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
 * import { Inspector } from "effect-connection-pool/inspector"
 * import { SqlitePool } from "effect-connection-pool/sqlite"
 *
 * // The authorization of the application: here, a password of operators.
 * declare const isOperator: (request: HttpServerRequest.HttpServerRequest) => boolean
 *
 * const operators: Inspector.Authorization<never, HttpServerRequest.HttpServerRequest> = (route) =>
 *   Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
 *     isOperator(request) ? route : Effect.succeed(HttpServerResponse.empty({ status: 401 })))
 *
 * export const InspectorRoutes = Layer.unwrap(Effect.map(SqlitePool.SqlitePool, (db) =>
 *   Inspector.layer({ watch: [db], authorization: operators })))
 * ```
 */
export const layer = <E = never, R = never, E2 = never, R2 = never>(options: Options<E, R, E2, R2>) =>
  Layer.effectDiscard(Effect.gen(function*() {
    const settings = yield* Effect.fromResult(resolve(options))
    const { actions, authorization } = options
    const { hosts } = settings
    yield* routes(settings, hosts && ((host) => hosts.has(host)), authorization, actions)
  }))

/**
 * Serves the page on a port of its own, to programs of this machine only, and without actions.
 *
 * Give it a server that listens on `127.0.0.1` or `::1`. On any other address it fails with `PoolConfigError`, because then
 * everybody could read without authorization.
 *
 * ```ts
 * import { NodeHttpServer } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { Inspector } from "effect-connection-pool/inspector"
 * import { SqlitePool } from "effect-connection-pool/sqlite"
 * import { createServer } from "node:http"
 *
 * export const InspectorServer = Layer.unwrap(
 *   Effect.map(SqlitePool.SqlitePool, (db) => Inspector.loopback({ watch: [db] }))
 * ).pipe(Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 4080 })))
 * ```
 */
export const loopback = (options: ShownOptions): Layer.Layer<never, PoolConfigError, HttpServer.HttpServer> =>
  Layer.unwrap(Effect.gen(function*() {
    const settings = yield* Effect.fromResult(resolveLoopback(options))
    const { address } = yield* HttpServer.HttpServer
    // A socket of this machine has the permissions of its file.
    if (!NetAddress.isUnixPathAddress(address) && !loopbacks.has(String(address.address))) {
      const host = String(address.address)
      const message =
        `the server listens on ${host}, but must listen on 127.0.0.1 or ::1, because everybody who reaches it ` +
        "can read. Use layer, with an authorization, for a page that others can reach"
      return yield* new PoolConfigError({ pool: "inspector", problems: [{ field: "host", value: host, message }] })
    }
    return HttpRouter.serve(Layer.effectDiscard(routes(settings, isLoopbackHost, everybody, undefined)), {
      disableLogger: true
    })
  }))

/** Whoever can ask is on this machine. */
const everybody: Authorization<never, HttpServerRequest.HttpServerRequest> = (route) => route

const loopbacks = new Set([NetAddress.ipv4Loopback, NetAddress.ipv6Loopback].map(String))

type Response = HttpServerResponse.HttpServerResponse

/** Starts to record, and adds the routes. */
const routes = Effect.fnUntraced(function*<E, R, E2, R2>(
  settings: InspectorSettings,
  hosts: Hosts | undefined,
  authorization: Authorization<E, R>,
  actions: Authorization<E2, R2> | undefined
) {
  const router = yield* HttpRouter.HttpRouter
  const shown = yield* show(settings, actions !== undefined)
  const { path } = settings
  const read = (at: HttpRouter.PathInput, route: Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest>) =>
    added(router.add("GET", at, guard(hosts, authorization(route))), at)
  yield* read(path === "" ? "/" : path, Effect.succeed(Routes.thePage))
  // A page that is open asks once a second, which would be most of the log of a quiet application.
  yield* read(`${path}/events`, HttpMiddleware.withLoggerDisabled(Routes.events(shown)))
  yield* read(`${path}/sizes`, Routes.sizing(shown))
  if (actions === undefined) return
  const both = Effect.gen(function*() {
    let isPassed = false
    const response = yield* authorization(Effect.sync(() => {
      isPassed = true
      return HttpServerResponse.empty()
    }))
    // A middleware may also answer after the route has run.
    return isPassed && response.status < 400 ? yield* actions(Routes.act(shown)) : response
  })
  yield* added(router.add("POST", `${path}/actions`, guard(hosts, both)), `${path}/actions`)
})

/** A router dies of a route that it has already. An application can see that coming only as an error. */
const added = <R>(adding: Effect.Effect<void, never, R>, path: string): Effect.Effect<void, PoolConfigError, R> =>
  Effect.catchDefect(adding, (defect) => {
    const message =
      `the router refuses the route ${path}: ${causeText(defect)}. If it is the page of another inspector, ` +
      "give all pools to one (watch: [one, other]), or another path to one of them"
    return Effect.fail(new PoolConfigError({ pool: "inspector", problems: [{ field: "path", value: path, message }] }))
  })

/** Starts to record. */
const show = Effect.fnUntraced(function*(
  settings: InspectorSettings,
  canAct: boolean
): Effect.fn.Return<Routes.Shown, never, Scope.Scope> {
  const sources = Sources.of(settings.watch, settings.health)
  const reports = yield* follow(settings.health)
  // Ten pages that are open cost hardly more than one.
  const forMillis = settings.intervalMillis / 2
  const overviews = new Kept(forMillis, () => overview(sources, reports))
  const views = new Kept(forMillis, (index: number, at) => poolView(sources.pools[index]!, recorder, index, at))
  const simulated = new Kept(simulatedForMillis, (index: number) => sizes(sources.pools[index]!, recorder, index))
  const recorder = yield* Recorder.make(sources, settings, (at) => {
    overviews.forget(at)
    views.forget(at)
    simulated.forget(at)
  })
  return {
    sources,
    recorder,
    settings,
    canAct,
    instance: randomUUID(),
    row: Rows.make(sources),
    view: (index) => index < sources.pools.length ? views.get(index) : Effect.undefined,
    overview: overviews.get("all"),
    simulate: (index) => simulated.get(index)
  }
})

/** For how long the answer of a simulation is given again. */
const simulatedForMillis = 10_000

/** The last report of each checker. */
const follow = Effect.fnUntraced(function*(
  checkers: ReadonlyArray<HealthChecker>
): Effect.fn.Return<ReadonlyMap<HealthChecker, Effect.Effect<HealthReport>>, never, Scope.Scope> {
  const reports = new Map<HealthChecker, Effect.Effect<HealthReport>>()
  for (const checker of checkers) {
    // The first report waits for the first check. Later ones are there.
    yield* Effect.forkScoped(Effect.map(checker.report, () => {
      reports.set(checker, checker.report)
    }))
  }
  return reports
})
