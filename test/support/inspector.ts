/** An inspector whose routes are asked without a server. */
import { Effect, Scope } from "effect"
import { Inspector } from "effect-connection-pool/inspector"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import type { Answer, PoolView, Sizes } from "../../src/inspector/internal/contract.ts"

type Asked = HttpServerRequest.HttpServerRequest

type Everybody = Inspector.Authorization<never, Asked>

type Options = Inspector.Options<never, Asked, never, Asked>

export const everybody: Everybody = (route) => route

export const nobody: Everybody = () => Effect.succeed(HttpServerResponse.text("log in first", { status: 401 }))

/** What a browser sends with an action of the page. */
export const sameOrigin = {
  host: "ops.example.com",
  origin: "https://ops.example.com",
  "sec-fetch-site": "same-origin",
  "content-type": "application/json"
}

export type Inspected = Effect.Success<ReturnType<typeof make>>

/** Adds an inspector to a router of its own. */
export const make = Effect.fnUntraced(function*(
  options: Omit<Options, "authorization"> & { readonly authorization?: Everybody }
) {
  const all: Options = { authorization: everybody, ...options }
  const handler = yield* HttpRouter.toHttpEffect(Inspector.layer(all))
  const scope = yield* Effect.scope
  const ask = (path: string, init?: RequestInit): Effect.Effect<Response> =>
    handler.pipe(
      Effect.provideService(
        HttpServerRequest.HttpServerRequest,
        HttpServerRequest.fromWeb(new Request(`https://ops.example.com${path}`, init))
      ),
      Effect.map((response) => HttpServerResponse.toWeb(response)),
      Effect.catch(() => Effect.succeed(new Response("not found", { status: 404 }))),
      Effect.provideService(Scope.Scope, scope)
    )
  const json = <A>(path: string, init?: RequestInit): Effect.Effect<A> =>
    Effect.flatMap(ask(path, init), (response) => Effect.promise(() => response.json() as Promise<A>))
  return {
    ask,
    /** What a page gets that has seen nothing, or all up to what the query says. */
    events: (query = "") => json<Answer>(`/inspector/events${query}`),
    sizes: (pool: number) => json<Sizes>(`/inspector/sizes?pool=${pool}`),
    /** What the page shows of the first pool. */
    view: Effect.map(json<Answer>("/inspector/events"), ({ pool }): PoolView => pool!),
    act: (action: unknown, headers: Record<string, string> = sameOrigin) =>
      ask("/inspector/actions", { method: "POST", headers, body: JSON.stringify(action) })
  }
})
