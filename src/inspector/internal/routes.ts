/** The routes of an inspector: the page, what it asks for, and what it may do. */
import { ByteSize, Clock, Effect, Result, Schema } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import type { Answer, Frame, Happening, PoolView, Sizes } from "./contract.ts"
import { guarded } from "./guard.ts"
import type { InspectorSettings } from "./options.ts"
import { mapViews, type Overview } from "./overview.ts"
import { policy, text as page } from "./page.ts"
import type { Recorder, Seen } from "./recorder.ts"
import type { Row, Wanted } from "./rows.ts"
import type { Sources } from "./sources.ts"

type Response = HttpServerResponse.HttpServerResponse

/** What the routes show. */
export interface Shown {
  readonly sources: Sources
  readonly recorder: Recorder
  readonly settings: InspectorSettings
  readonly instance: string
  readonly canAct: boolean
  /** The pools that are listed. */
  readonly row: (seen: Seen, wanted: Wanted) => Row
  /** One pool at the present moment; `undefined` if there is none. All who ask at about the same time get the same. */
  readonly view: (index: number) => Effect.Effect<PoolView | undefined>
  /** What is shown besides pools. All who ask at about the same time get the same. */
  readonly overview: Effect.Effect<Overview>
  /** One simulation at a time, and the last one for a while. */
  readonly simulate: (index: number) => Effect.Effect<Sizes>
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
    const { instance, recorder, settings } = shown
    const isSame = params.get("instance") === instance
    const numberAfter = (name: string) => isSame ? numberOf(params.get(name)) : 0
    const chosen = numberOf(params.get("pool"))
    const pool = yield* shown.view(chosen)
    const { maps, ...others } = yield* shown.overview
    const wanted = { chosen, find: (params.get("find") ?? "").slice(0, mostOfFind), from: numberOf(params.get("from")) }
    const frames = framesOf(recorder.frames.after(numberAfter("frame")), chosen)
    const happenings = inOneAnswer(recorder.happenings.after(numberAfter("happening")), sizeOfHappening)
    const answer: Answer = {
      instance,
      at: yield* Clock.currentTimeMillis,
      intervalMillis: settings.intervalMillis,
      historyMillis: settings.intervalMillis * recorder.mostFrames,
      canAct: shown.canAct,
      // The first frame was recorded before anybody could ask.
      ...withPresent(shown.row(recorder.frames.newest!, wanted), chosen, pool),
      chosen,
      pool,
      frames: frames.given,
      happenings: happenings.given,
      hasMore: frames.hasMore || happenings.hasMore,
      maps: mapViews(maps, (index) => numberOf(params.get(`map${index}`))),
      ...others
    }
    return json(answer)
  })

/** The row of pools, in which the pool that is shown has the numbers that are shown. The others have those of the last look. */
const withPresent = (row: Row, chosen: number, pool: PoolView | undefined): Row => {
  if (pool === undefined) return row
  const { isOpen, isPaused, stats: { inUse, max, waiting } } = pool
  const pools = row.pools.map((one) => one.index === chosen ? { ...one, inUse, max, waiting, isOpen, isPaused } : one)
  return { ...row, pools }
}

/** The most characters of the text that a page looks for in names. */
const mostOfFind = 200

/**
 * The most of the history that one answer has, in characters, about. More of it would keep the process from everything else
 * while it becomes JSON.
 */
export const mostInAnswer = 200_000

/** The oldest of these values, as many as one answer may have; at least one. */
const inOneAnswer = <A>(values: ReadonlyArray<A>, sizeOf: (value: A) => number) => {
  let size = 0
  let count = 0
  for (const value of values) {
    size += sizeOf(value)
    if (count > 0 && size > mostInAnswer) break
    count++
  }
  return { given: values.slice(0, count), hasMore: count < values.length }
}

/** The frames of one pool. */
const framesOf = (seen: ReadonlyArray<Seen>, index: number) => {
  const { given, hasMore } = inOneAnswer(seen, ({ pools }) => sizeOfFrame(pools[index]))
  const frames = given.flatMap(({ at, number, pools }): ReadonlyArray<Frame> => {
    const pool = pools[index]
    return pool === undefined ? [] : [{ number, at, ...pool }]
  })
  return { given: frames, hasMore }
}

const sizeOfFrame = (pool: Seen["pools"][number] | undefined): number => {
  let size = 100
  for (const { holder } of pool?.lanes ?? []) size += 80 + (holder?.length ?? 0)
  return size
}

const sizeOfHappening = ({ source, text }: Happening): number => 150 + source.length + text.length

/** Whether a pool of another size would help. */
export const sizing = (shown: Shown): Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest> =>
  Effect.gen(function*() {
    const index = (yield* query).get("pool") ?? ""
    // No number of a pool may stand for another one: the answer would be of the wrong pool.
    const isKnown = /^\d+$/.test(index) && shown.sources.pools[Number(index)] !== undefined
    return isKnown ? json(yield* shown.simulate(Number(index))) : unknownPool
  })

/** The parameters of a question. A URL that is none has some, too. */
const query = Effect.map(
  HttpServerRequest.HttpServerRequest,
  ({ originalUrl }) => new URLSearchParams(/\?([^#]*)/.exec(originalUrl)?.[1])
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

/** The largest action, in kibibytes: the name of a pool may be long. */
const mostOfAction = 64

export const act = ({ sources }: Shown): Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest> =>
  Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    const body = yield* Effect.result(
      Effect.provideService(request.json, HttpServerRequest.MaxBodySize, ByteSize.kibibytes(mostOfAction))
    )
    const asked = Result.isFailure(body)
      ? undefined
      : yield* Effect.option(Schema.decodeUnknownEffect(Action)(body.success))
    if (asked === undefined || asked._tag === "None") return json({ problem: "this is no action" }, 400)
    const { action, max, min, name, pool: index } = asked.value
    const source = sources.pools[index]
    if (source === undefined || source.name !== name) return unknownPool
    const { door, pool } = source
    if (!door.inspect().isOpen) return json({ problem: "the pool is closed" }, 409)
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
