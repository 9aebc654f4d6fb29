/** What every response says to the browser, and which requests are refused, whoever sends them. */
import { Effect } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"

/** The headers of every response. `policy` is the content security policy of the page. */
const headers = (policy: string) => ({
  "cache-control": "no-store",
  "content-security-policy": policy,
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY"
})

/** Nothing may be loaded, and nobody may frame it: for responses that are no page. */
const nothing = "default-src 'none'; frame-ancestors 'none'"

export const guarded = (response: HttpServerResponse.HttpServerResponse, policy: string = nothing) =>
  HttpServerResponse.setHeaders(response, headers(policy))

const refused = (text: string) => HttpServerResponse.text(text, { status: 403 })

export type Hosts = (host: string) => boolean

/** A host on which only programs of this machine can ask. A name that points to this machine may belong to anybody. */
export const isLoopbackHost: Hosts = (host) => /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(host)

/**
 * Why a request is refused, if it is. A page of another site cannot read a response without CORS, which nothing here allows;
 * but it can send a request, and with a name that points to this server it can read as well, as if it were this site.
 */
export const refusal = (
  request: HttpServerRequest.HttpServerRequest,
  hosts: Hosts | undefined
): HttpServerResponse.HttpServerResponse | undefined => {
  const { headers } = request
  const host = headers["host"]?.toLowerCase() ?? ""
  if (hosts !== undefined && !hosts(host)) {
    return refused("the page may not be asked for under this host: see the option hosts of the inspector")
  }
  const site = headers["sec-fetch-site"]
  // A router answers HEAD with the routes of GET.
  if (request.method === "GET" || request.method === "HEAD") {
    // A link, or an address that was typed, may open the page. Nothing else of another site may ask for anything.
    const isNavigation = headers["sec-fetch-mode"] === "navigate" && headers["sec-fetch-dest"] === "document"
    return site === undefined || site === "same-origin" || isNavigation
      ? undefined
      : refused("another site may not ask for this")
  }
  // Every browser of today sends these two with a POST. Other programs that act have to send them as well.
  if (site !== "same-origin") return refused("an action must come from the page: sec-fetch-site is not same-origin")
  const origin = headers["origin"]
  if (origin === undefined || hostOf(origin) !== host) {
    return refused("an action must come from the page: origin is not the host")
  }
  if (headers["content-type"]?.split(";")[0]?.trim() !== "application/json") {
    return refused("an action must be JSON")
  }
  return undefined
}

const hostOf = (origin: string): string | undefined => (URL.canParse(origin) ? new URL(origin).host : undefined)

/** Runs a route unless the request is refused, and gives its response the headers. */
export const guard = <E, R>(
  hosts: Hosts | undefined,
  route: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse.HttpServerResponse, E, R | HttpServerRequest.HttpServerRequest> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const refused = refusal(request, hosts)
    return refused === undefined ? route : Effect.succeed(guarded(refused))
  })
