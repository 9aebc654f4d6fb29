/**
 * Records what pools do: once in each interval what every connection does, and every event but those of leases. So leases
 * cost the same whether they are recorded or not, and whether somebody looks or not.
 *
 * It looks at pool after pool, in small steps. What it keeps is bounded, whatever the number of pools and connections.
 */
import { Clock, Effect, type Scope, Stream } from "effect"
import { nameOf } from "../../internal/holder.ts"
import type { Observation, Times } from "../../internal/pool/view.ts"
import { type Look, lookThrough } from "../../internal/simulation/measure.ts"
import type { FramePool, Happening, Lane } from "./contract.ts"
import type { InspectorSettings } from "./options.ts"
import { shareOf } from "./ranks.ts"
import { Ring } from "./ring.ts"
import type { Sources } from "./sources.ts"
import { inSteps } from "./steps.ts"
import * as Words from "./words.ts"

/** The most connections of one pool that have lanes. */
export const mostLanes = 100

/** The most happenings that are kept. */
const mostHappenings = 1000

/** The most that is kept of all frames together: lanes, and what a frame says of one pool. */
export const mostKept = 400_000

/** The most looks of one pool, and of all pools, that are kept. */
const mostLooks = 30
const mostLooksOfAll = 6000

/** What was seen of all pools at one moment. */
export interface Seen {
  readonly number: number
  readonly at: number
  readonly pools: ReadonlyArray<FramePool>
}

/** The numbers of all pools at one moment, which is now and then. */
interface Looks {
  readonly number: number
  readonly at: number
  readonly looks: ReadonlyArray<Look>
}

export interface Recorder {
  readonly frames: Ring<Seen>
  readonly looks: Ring<Looks>
  readonly happenings: Ring<Happening>
  /** How many frames are kept. */
  readonly mostFrames: number
}

/** Records until the scope closes. Calls `onLook` after each look. */
export const make = Effect.fnUntraced(function*(
  sources: Sources,
  settings: InspectorSettings,
  onLook: (at: number) => void
): Effect.fn.Return<Recorder, never, Scope.Scope> {
  const count = Math.max(1, sources.pools.length)
  const mostFrames = Math.max(2, Math.min(settings.frames, Math.floor(mostKept / 2 / count)))
  const ofLooks = Math.max(2, Math.min(mostLooks, mostFrames, Math.floor(mostLooksOfAll / count)))
  const recorder: Recorder = {
    frames: new Ring(mostFrames),
    looks: new Ring(ofLooks),
    happenings: new Ring(mostHappenings),
    mostFrames
  }
  for (const [index, { door, name }] of sources.pools.entries()) {
    yield* follow(door.happenings, (event, at) =>
      recorder.happenings.add((number) => ({
        number,
        at,
        pool: index,
        source: name,
        tag: event._tag,
        connection: "connection" in event ? event.connection : undefined,
        evictReason: event._tag === "Evicted" ? event.reason : undefined,
        ...Words.ofPool(event)
      })))
  }
  /** Notes the events of a map or of hosts, which belong to no pool and no connection. */
  const followOthers = <A extends { readonly _tag: string }>(
    events: Stream.Stream<A>,
    source: string,
    wordsOf: (event: A) => Words.Words
  ) =>
    follow(events, (event, at) =>
      recorder.happenings.add((number) => ({
        number,
        at,
        pool: -1,
        source,
        tag: event._tag,
        connection: undefined,
        evictReason: undefined,
        ...wordsOf(event)
      })))
  for (const { map, name } of sources.maps) yield* followOthers(map.events, name, Words.ofMap)
  for (const { hostEvents, name } of sources.databases) {
    if (hostEvents !== undefined) yield* followOthers(hostEvents, name, Words.ofHosts)
  }
  const lanesOfFrame = mostKept / mostFrames - count
  const lookEvery = Math.ceil(mostFrames / ofLooks)
  let taken = 0
  let share = Math.min(mostLanes, Math.floor(lanesOfFrame / count))
  const record = Effect.gen(function*() {
    const { at, pools } = yield* see(sources, recorder, share, taken++ % lookEvery === 0)
    share = shareOf(pools.map(({ lanes, more }) => lanes.length + more), mostLanes, lanesOfFrame)
    onLook(at)
  })
  // So that there is a frame when somebody asks.
  yield* record
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(settings.intervalMillis), record)))
  return recorder
})

/** Calls a function with each event, and the time. The stream of a pool that is closed ends. */
const follow = <A>(events: Stream.Stream<A>, note: (event: A, at: number) => void) =>
  Effect.forkScoped(
    Stream.runForEach(events, (event) => Effect.map(Clock.currentTimeMillis, (at) => note(event, at))),
    { startImmediately: true }
  )

/** Records a frame, with at most so many lanes of each pool, and the numbers of the pools, if they are wanted. */
const see = Effect.fnUntraced(function*(
  { pools }: Sources,
  { frames, looks }: Recorder,
  lanes: number,
  isLook: boolean
): Effect.fn.Return<Omit<Seen, "number">> {
  const at = yield* Clock.currentTimeMillis
  const seen: Array<FramePool> = []
  yield* inSteps(pools, ({ door }) => {
    const observed = door.observe(lanes)
    seen.push(frameOf(observed))
    return workOfPool + observed.seen.length
  })
  if (isLook) {
    const taken: Array<Look> = []
    yield* inSteps(pools, ({ door }) => {
      taken.push(lookThrough(door))
      return workOfPool
    })
    looks.add((number) => ({ number, at, looks: taken }))
  }
  frames.add((number) => ({ number, at, pools: seen }))
  return { at, pools: seen }
})

/** As much as for a few connections. */
const workOfPool = 5

const frameOf = ({ seen, total, ...numbers }: Observation): FramePool => ({
  ...numbers,
  lanes: seen.map(laneOf),
  more: total - seen.length
})

const laneOf = (
  { holder, info: { ageMillis, evictReason, id, idleMillis, state, uses } }: Observation["seen"][number]
): Lane => ({
  id,
  state,
  sinceMillis: Math.min(ageMillis, idleMillis),
  uses,
  holder: holder === undefined ? undefined : nameOf(holder, `fiber #${holder.fiber}`),
  evictReason
})

/** The times of one pool at the oldest look, and now, and how long ago that was. */
export const timesSeen = (
  { looks }: Recorder,
  index: number,
  now: Times | undefined,
  at: number
): { readonly before: Times; readonly after: Times; readonly overMillis: number } | undefined => {
  const first = looks.oldest
  const before = first?.looks[index]?.times
  return before && now && { before, after: now, overMillis: at - first!.at }
}
