/** What gives a caller the pool of a key. */
import { Effect, RcMap, Scope } from "effect"
import type { Library, Loaded } from "../library.ts"

/** One way to the pool of a key. All keys that are asked for are open after the first round. */
export interface MapContender {
  readonly name: string
  readonly open: (keys: ReadonlyArray<string>) => Promise<OpenMap>
}

export interface OpenMap {
  /** Runs an effect with what the key stands for. */
  readonly use: (key: string, f: (value: string) => Effect.Effect<void>) => Effect.Effect<void, unknown>
  readonly close: () => Promise<void>
}

export type MapContenders = ReadonlyArray<MapContender>

export const mapContenders = ({ before, library }: Loaded<Library>): MapContenders => [
  ofLibrary("ours: PoolMap", library),
  // A build from before there were maps has none.
  ...(before?.PoolMap === undefined ? [] : [ofLibrary("before: PoolMap", before)]),
  rcMap,
  bare
]

const open = (key: string) => Effect.acquireRelease(Effect.succeed(key), () => Effect.void)

const ofLibrary = (name: string, { PoolMap }: Library): MapContender => ({
  name,
  open: inScope((keys) => PoolMap.make({ max: keys.length, open }), (map) => map.use)
})

/** Opens and shares by key as well, but fails at its capacity instead of closing what nobody uses. */
const rcMap: MapContender = {
  name: "RcMap.get",
  open: inScope(
    (keys) => RcMap.make({ capacity: keys.length, idleTimeToLive: "10 minutes", lookup: open }),
    (map) => (key, f) => Effect.scoped(Effect.flatMap(RcMap.get(map, key), f))
  )
}

/** The value by itself: a map that never opens or closes. */
const bare: MapContender = {
  name: "no map",
  open: async () => ({ use: (key, f) => f(key), close: async () => {} })
}

function inScope<A>(
  make: (keys: ReadonlyArray<string>) => Effect.Effect<A, unknown, Scope.Scope>,
  useOf: (map: A) => OpenMap["use"]
): MapContender["open"] {
  return async (keys) => {
    const scope = Effect.runSync(Scope.make())
    const map = await Effect.runPromise(Scope.provide(make(keys), scope))
    return {
      use: useOf(map),
      close: () => Effect.runPromise(Scope.close(scope, Effect.runSync(Effect.exit(Effect.void))))
    }
  }
}
