/** This library with an inspector, whose page is open ten times. */
import { Effect, type Scope } from "effect"
import type { ConnectionPool } from "effect-connection-pool"
import { HttpRouter, HttpServerRequest, type HttpServerResponse } from "effect/http"
import type { InspectorLibrary, Library } from "../library.ts"
import type { Contender } from "./contender.ts"
import { Ledger, type Lent } from "./ledger.ts"
import { scoped } from "./scoped.ts"
import { touching } from "./touching.ts"

const pages = 10

const connect = (ledger: Ledger): Effect.Effect<Lent, never, Scope.Scope> =>
  Effect.acquireRelease(Effect.sync(ledger.connect), (connection) => Effect.sync(() => connection.close()))

export const inspected = (library: Library, { Inspector }: InspectorLibrary): Contender => ({
  name: "ours: use, ten viewers",
  open: async ({ size }) => {
    const ledger = new Ledger()
    const opened = Effect.gen(function*() {
      const pool: ConnectionPool.ConnectionPool<Lent> = yield* library.ConnectionPool.make({
        factory: { connect: connect(ledger) },
        min: size,
        max: size
      })
      const routes = yield* HttpRouter.toHttpEffect(
        Inspector.layer({
          watch: [pool],
          authorization: (route: Effect.Effect<Response, never, Request>): Effect.Effect<Response, never, Request> =>
            route
        })
      )
      for (let page = 0; page < pages; page++) yield* Effect.forkScoped(watch(routes))
      return pool
    })
    const { close, value: pool } = await scoped(opened)
    return {
      style: "effect",
      ledger,
      touch: () => pool.use(touching),
      use: (body) => pool.use(body),
      isTimeout: (error) => error instanceof library.PoolError.AcquireTimeoutError,
      close: async () => {
        await close()
        ledger.check()
      }
    }
  }
})

type Response = HttpServerResponse.HttpServerResponse
type Request = HttpServerRequest.HttpServerRequest

interface Answer {
  readonly instance: string
  readonly frames: ReadonlyArray<{ readonly number: number }>
}

/** Asks once in a second for what is new, as the page does. */
const watch = Effect.fnUntraced(function*<E, R>(routes: Effect.Effect<Response, E, R | Request>) {
  let seen = ""
  for (;;) {
    const request = HttpServerRequest.fromWeb(new Request(`http://localhost/inspector/events${seen}`))
    const response = yield* Effect.provideService(routes, HttpServerRequest.HttpServerRequest, request)
    const { frames, instance } = JSON.parse(bodyOf(response)) as Answer
    seen = `?instance=${instance}&frame=${frames.at(-1)?.number ?? 0}`
    yield* Effect.sleep("1 second")
  }
})

const bodyOf = ({ body }: Response): string => body._tag === "Uint8Array" ? new TextDecoder().decode(body.body) : ""
