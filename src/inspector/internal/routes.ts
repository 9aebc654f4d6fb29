/** The routes of an inspector: the page, what it asks for, and what it may do. */
import { Effect, Result, Schema } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import type { Answer, Frame, Sizes } from "./contract.ts"
import { guarded } from "./guard.ts"
import type { InspectorSettings } from "./options.ts"
import { policy, text as page } from "./page.ts"
import type { Recorder, Seen } from "./recorder.ts"
import type { Source, Sources } from "./sources.ts"
import type { Present } from "./views.ts"

type Response = HttpServerResponse.HttpServerResponse

/** What the routes show. */
export interface Shown {
  readonly sources: Sources
  readonly recorder: Recorder
  readonly settings: InspectorSettings
  readonly instance: string
  readonly canAct: boolean
  /** The present moment. All who ask at about the same time get the same. */
  readonly present: Effect.Effect<Present>
  /** One simulation at a time, and the last one for a while. */
  readonly simulate: (index: number, source: Source) => Effect.Effect<Sizes>
}

const json = (value: unknown, status = 200): Response =>
  guarded(HttpServerResponse.text(JSON.stringify(value), { status, contentType: "application/json" }))

export const thePage: Response = guarded(
  HttpServerResponse.text(page, { contentType: "text/html; charset=utf-8" }),
  policy
)

/** What happened after the two numbers that the page has seen, and what is now. */
export const events = (shown: Shown): Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest> =>
  Effect.gen(function*() {
    const params = yield* query
    const isSame = params.get("instance") === shown.instance
    const { happenings, frames } = shown.recorder
    const answer: Answer = {
      instance: shown.instance,
      intervalMillis: shown.settings.intervalMillis,
      historyMillis: shown.settings.intervalMillis * shown.settings.frames,
      canAct: shown.canAct,
      ...inOneAnswer(frames.after(isSame ? numberOf(params.get("frame")) : 0)),
      happenings: happenings.after(isSame ? numberOf(params.get("happening")) : 0),
      ...yield* shown.present
    }
    return json(answer)
  })

/** The most lanes in one answer. More of them would keep the process from everything else while they become JSON. */
export const mostInAnswer = 10_000

/** The oldest of these frames, as many as one answer may have; at least one. */
const inOneAnswer = (seen: ReadonlyArray<Seen>): Pick<Answer, "frames" | "hasMore"> => {
  const frames: Array<Frame> = []
  let lanes = 0
  for (const { frame } of seen) {
    for (const pool of frame.pools) lanes += pool.lanes.length
    if (frames.length > 0 && lanes > mostInAnswer) break
    frames.push(frame)
  }
  return { frames, hasMore: frames.length < seen.length }
}

/** Whether a pool of another size would help. */
export const sizing = (shown: Shown): Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest> =>
  Effect.gen(function*() {
    const index = (yield* query).get("pool") ?? ""
    // No number of a pool may stand for another one: the answer would be of the wrong pool.
    const source = /^\d+$/.test(index) ? shown.sources.pools[Number(index)] : undefined
    return source === undefined ? unknownPool : json(yield* shown.simulate(Number(index), source))
  })

const query = Effect.map(
  HttpServerRequest.HttpServerRequest,
  ({ originalUrl }) => new URL(originalUrl, "http://localhost").searchParams
)

const numberOf = (text: string | null): number => {
  const number = Number(text)
  return Number.isSafeInteger(number) && number > 0 ? number : 0
}

const unknownPool = json({ problem: "there is no such pool" }, 404)

/** An action of the page. The name guards against an index of an inspector that is gone. */
const Action = Schema.Struct({
  action: Schema.Literals(["pause", "resume", "recycle", "check", "resize"]),
  pool: Schema.Number,
  name: Schema.String,
  min: Schema.optional(Schema.Number),
  max: Schema.optional(Schema.Number)
})

export const act = ({ sources }: Shown): Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest> =>
  Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    const body = yield* Effect.result(request.json)
    const asked = Result.isFailure(body)
      ? undefined
      : yield* Effect.option(Schema.decodeUnknownEffect(Action)(body.success))
    if (asked === undefined || asked._tag === "None") return json({ problem: "this is no action" }, 400)
    const { action, max, min, name, pool: index } = asked.value
    const source = sources.pools[index]
    if (source === undefined || source.pool.name !== name) return unknownPool
    const { pool } = source
    yield* Effect.annotateLogs(Effect.logInfo(`the inspector was asked to ${action} the pool`), "pool", name)
    switch (action) {
      case "pause":
        yield* pool.pause
        return json({ done: "paused: callers wait" })
      case "resume":
        yield* pool.resume
        return json({ done: "resumed" })
      case "recycle":
        return json({ done: `${yield* pool.recycle} connections are replaced, those in use when they come back` })
      case "check": {
        // Without options, it cannot fail.
        const { failed, passed } = yield* Effect.orDie(pool.check())
        return json({ done: `${passed} idle connections work, ${failed.length} do not` })
      }
      case "resize": {
        if (min === undefined && max === undefined) return json({ problem: "give min, max or both" }, 400)
        const resized = yield* Effect.result(pool.resize({ min, max }))
        return Result.isFailure(resized) ? json({ problem: resized.failure.message }, 400) : json({ done: "resized" })
      }
    }
  })
