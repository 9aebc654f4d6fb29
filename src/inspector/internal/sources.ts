/** What an inspector watches: the pools, databases, maps and health checkers that it was given, told apart by their shape. */
import { Effect, Predicate, Stream } from "effect"
import type { ConnectionPool } from "../../ConnectionPool.ts"
import type { HealthChecker } from "../../HealthChecker.ts"
import * as DatabaseDoor from "../../internal/pool/databaseDoor.ts"
import * as Door from "../../internal/pool/door.ts"
import type { AnyHost, AnyHostEvent } from "../../internal/pool/hostEvents.ts"
import * as MapDoor from "../../internal/poolMap/door.ts"
import { cut, labelText } from "../../internal/structures/statementText.ts"
import type { PoolMap } from "../../PoolMap.ts"

/** A pool of the library, whatever it lends. */
export type AnyPool = Omit<ConnectionPool<unknown, unknown>, "use" | "useSync" | "acquire" | "invalidate">

export type { AnyHost, AnyHostEvent }

/** A database of several pools, such as a `SqlitePool` or a `PgPool`. */
export interface AnyDatabase {
  readonly name: string
  readonly filename?: string | undefined
  readonly sides: Readonly<Record<string, AnyPool>>
  /** Its hosts as they were last seen, and what happens to them, if it has several. */
  readonly hosts?: Effect.Effect<ReadonlyArray<AnyHost>> | undefined
  readonly hostEvents?: Stream.Stream<AnyHostEvent> | undefined
}

/** The part of a `PoolMap` that does not depend on its keys and pools. */
export type AnyMap = Pick<PoolMap<unknown, unknown, unknown, unknown>, "name" | "stats" | "pools" | "events">

/** What can be watched: a `ConnectionPool`, a `SqlitePool` or `PgPool` with its pools, or a `PoolMap`. */
export type Watched = AnyPool | AnyDatabase | AnyMap

/** All that is watched, in order. A pool that is given twice, or of which both sides are one, is there once. */
export interface Sources {
  readonly pools: ReadonlyArray<Source>
  readonly databases: ReadonlyArray<DatabaseSource>
  readonly maps: ReadonlyArray<MapSource>
  readonly checkers: ReadonlyArray<HealthChecker>
}

/** Names are as the page shows them: an application may make them of the texts of other people. */
export interface Source {
  readonly name: string
  readonly pool: AnyPool
  readonly door: Door.Door
}

export interface MapSource {
  readonly name: string
  readonly map: AnyMap
  readonly door: MapDoor.MapDoor
}

export interface DatabaseSource {
  readonly name: string
  readonly filename: string | undefined
  readonly door: DatabaseDoor.DatabaseDoor | undefined
  /** The indexes of its pools. */
  readonly pools: ReadonlyArray<number>
  readonly hosts: Effect.Effect<ReadonlyArray<AnyHost>> | undefined
  readonly hostEvents: Stream.Stream<AnyHostEvent> | undefined
}

export const isPool = (value: unknown): value is AnyPool => Predicate.isObject(value) && Door.of(value) !== undefined

const isDatabase = (value: unknown): value is AnyDatabase =>
  Predicate.hasProperty(value, "sides") && Predicate.isObject(value.sides) &&
  Object.values(value.sides).every(isPool) &&
  isRight(value, "hosts", Effect.isEffect) && isRight(value, "hostEvents", Stream.isStream)

/** Whether a property is as it must be, or not there. */
const isRight = (value: object, name: string, accepts: (its: unknown) => boolean): boolean =>
  !Predicate.hasProperty(value, name) || value[name] === undefined || accepts(value[name])

const isMap = (value: unknown): value is AnyMap => Predicate.isObject(value) && MapDoor.of(value) !== undefined

export const isWatched = (value: unknown): value is Watched => isPool(value) || isDatabase(value) || isMap(value)

/** The most characters of the path of a file. */
const mostOfPath = 500

/** Sorts what was given. All of it is `isWatched`. */
export const of = (watched: ReadonlyArray<Watched>, checkers: ReadonlyArray<HealthChecker>): Sources => {
  const pools: Array<Source> = []
  const databases: Array<DatabaseSource> = []
  const maps: Array<MapSource> = []
  const indexes = new Map<Door.Door, number>()
  const add = (pool: AnyPool): number => {
    const door = Door.of(pool)!
    // A copy of a pool has the door of the pool.
    const known = indexes.get(door)
    if (known !== undefined) return known
    indexes.set(door, pools.length)
    return pools.push({ name: labelText(pool.name), pool, door }) - 1
  }
  for (const one of watched) {
    if (isPool(one)) add(one)
    else if (isDatabase(one)) {
      databases.push({
        name: labelText(one.name),
        filename: one.filename && cut(one.filename, mostOfPath),
        door: DatabaseDoor.of(one),
        pools: Object.values(one.sides).map(add),
        hosts: one.hosts,
        hostEvents: one.hostEvents
      })
    } else maps.push({ name: labelText(one.name), map: one, door: MapDoor.of(one)! })
  }
  return { pools, databases, maps, checkers }
}
