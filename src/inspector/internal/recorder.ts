/**
 * Records what pools do: once in each interval what every connection does, and every event but those of leases. So leases
 * cost the same whether they are recorded or not, and whether somebody looks or not.
 */
import { Clock, Effect, type Scope, Stream } from "effect"
import type { ConnectionInfo } from "../../Connection.ts"
import type { Times } from "../../internal/pool/view.ts"
import { type Look, look } from "../../internal/simulation/measure.ts"
import type { Holder } from "../../PoolError.ts"
import type { Frame, FramePool, Happening, Lane } from "./contract.ts"
import type { InspectorSettings } from "./options.ts"
import { Ring } from "./ring.ts"
import type { Source, Sources } from "./sources.ts"
import * as Words from "./words.ts"

/** The most connections of one pool that have lanes. */
export const mostLanes = 100

/** The most happenings that are kept. */
const mostHappenings = 1000

/** What was seen of all pools at one moment. */
export interface Seen {
  readonly number: number
  readonly at: number
  readonly frame: Frame
  readonly looks: ReadonlyArray<Look>
}

export interface Recorder {
  readonly frames: Ring<Seen>
  readonly happenings: Ring<Happening>
}

/** Records until the scope closes. */
export const make = Effect.fnUntraced(function*(
  sources: Sources,
  settings: InspectorSettings
): Effect.fn.Return<Recorder, never, Scope.Scope> {
  const recorder: Recorder = { frames: new Ring(settings.frames), happenings: new Ring(mostHappenings) }
  for (const [index, { door, pool }] of sources.pools.entries()) {
    yield* follow(door.happenings, (event, at) =>
      recorder.happenings.add((number) => ({
        number,
        at,
        pool: index,
        source: pool.name,
        tag: event._tag,
        connection: "connection" in event ? event.connection : undefined,
        evictReason: event._tag === "Evicted" ? event.reason : undefined,
        ...Words.ofPool(event)
      })))
  }
  for (const map of sources.maps) {
    yield* follow(map.events, (event, at) =>
      recorder.happenings.add((number) => ({
        number,
        at,
        pool: -1,
        source: map.name,
        tag: event._tag,
        connection: undefined,
        evictReason: undefined,
        ...Words.ofMap(event)
      })))
  }
  const again = Effect.andThen(record(sources, recorder), Effect.sleep(settings.intervalMillis))
  yield* Effect.forkScoped(Effect.forever(again), { startImmediately: true })
  return recorder
})

/** Calls a function with each event, and the time. The stream of a pool that is closed ends. */
const follow = <A>(events: Stream.Stream<A>, note: (event: A, at: number) => void) =>
  Effect.forkScoped(
    Stream.runForEach(events, (event) => Effect.map(Clock.currentTimeMillis, (at) => note(event, at))),
    { startImmediately: true }
  )

const record = Effect.fnUntraced(function*(sources: Sources, { frames }: Recorder) {
  const at = yield* Clock.currentTimeMillis
  const looks: Array<Look> = []
  const pools: Array<FramePool> = []
  for (const source of sources.pools) {
    const seen = yield* look(source.pool)
    looks.push(seen)
    pools.push(yield* lanesOf(source, seen))
  }
  frames.add((number) => ({ number, at, looks, frame: { number, at, pools } }))
})

const lanesOf = Effect.fnUntraced(function*({ pool }: Source, { stats }: Look) {
  const holders = new Map<number, Holder>()
  for (const holder of yield* pool.holders) holders.set(holder.connection, holder)
  const all = yield* pool.connections
  const some = all.length <= mostLanes ? all : all.toSorted((a, b) => a.id - b.id).slice(0, mostLanes)
  const { inUse, max, waiting } = stats
  return { inUse, waiting, max, lanes: some.map((info) => laneOf(info, holders.get(info.id))) } satisfies FramePool
})

const laneOf = (
  { ageMillis, evictReason, id, idleMillis, state, uses }: ConnectionInfo,
  holder: Holder | undefined
): Lane => ({
  id,
  state,
  sinceMillis: Math.min(ageMillis, idleMillis),
  uses,
  holder: holder === undefined ? undefined : Words.labelText(holder.label ?? `fiber #${holder.fiber}`),
  evictReason
})

/** The times of all that was seen of one pool, and how long that was. */
export const timesSeen = (
  { frames }: Recorder,
  pool: number
): { readonly before: Times; readonly after: Times; readonly overMillis: number } | undefined => {
  const [first, last] = [frames.oldest, frames.newest]
  const [before, after] = [first?.looks[pool]?.times, last?.looks[pool]?.times]
  return before && after && { before, after, overMillis: last!.at - first!.at }
}
