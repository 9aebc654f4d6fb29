/** Who takes part. */
import { type Folders, type InspectorLibrary, type Libraries, loadAll, loadInspector, loadSqlite } from "../library.ts"
import type { Contender } from "./contender.ts"
import { poolGet, poolUse } from "./effectPool.ts"
import {
  floorAcquireUseRelease,
  floorClosures,
  floorFibers,
  floorFinalizer,
  floorLoop,
  floorPrimitive,
  floorSync
} from "./floors.ts"
import { genericPool } from "./genericPool.ts"
import { inspected } from "./inspected.ts"
import { ours } from "./ours.ts"
import { pgPool } from "./pgPool.ts"
import { type MapContenders, mapContenders } from "./poolMaps.ts"
import type { PostgresContender } from "./postgres/client.ts"
import { postgresContenders } from "./postgres/index.ts"
import { promiseLoop } from "./promiseLoop.ts"
import { type DatabasesByKey, databasesByKey } from "./sqlite/databasesByKey.ts"
import { type SqliteContenders, sqliteContenders } from "./sqlite/index.ts"
import { tarn } from "./tarn.ts"

export type Contenders = ReturnType<typeof contenders>

/** The pools, and the ways to SQLite and PostgreSQL. */
export interface Everybody {
  readonly pools: Contenders
  readonly sqlite: SqliteContenders
  readonly postgres: ReadonlyArray<PostgresContender>
  readonly maps: MapContenders
  readonly databasesByKey: ReadonlyArray<DatabasesByKey>
}

export const everybody = async (folders: Folders): Promise<Everybody> => {
  const libraries = await loadAll(folders)
  return {
    pools: contenders(libraries, await loadInspector(folders)),
    sqlite: await sqliteContenders(folders),
    postgres: postgresContenders(folders),
    maps: mapContenders(libraries),
    databasesByKey: databasesByKey(libraries.library, (await loadSqlite(folders)).library)
  }
}

export const contenders = ({ before, library }: Libraries, inspector: InspectorLibrary) => {
  const builds = [ours(library, "ours:"), ...(before === undefined ? [] : [ours(before, "before:")])]
  const use = builds.map((build) => build.use)
  const useSync = builds.map((build) => build.useSync)
  const effects = [poolUse, poolGet]
  const peers = [tarn, genericPool, pgPool]
  const floors = [floorClosures, floorPrimitive]
  return {
    /** Contenders that have a line of callers. */
    pools: [...use, ...builds.map((build) => build.hooks), ...effects, ...peers, ...floors],
    /** Contenders whose callers can time out. */
    withDeadline: [...use, poolUse, ...peers, floorPrimitive],
    /** Contenders whose callers can leave the line. */
    withCancel: [...use, ...effects, tarn, ...floors],
    /** Contenders whose cost is shown from one caller in line on. */
    growing: [...use, poolUse, floorPrimitive],
    /** The same pool without an inspector and with one. */
    inspected: [use[0]!, inspected(library, inspector)],
    /** Those that a program may have many of. */
    idle: [...use, poolUse, ...peers],
    /** For work that is synchronous. */
    synchronous: useSync,
    /** Contenders that are interesting only while nobody waits. */
    alone: [
      ...useSync,
      ...builds.map((build) => build.acquire),
      ...[builds[0]!].flatMap((build) => [build.useUnmeasured, build.useSyncUnmeasured, build.useWatched]),
      floorAcquireUseRelease,
      floorSync,
      floorFinalizer,
      floorLoop,
      promiseLoop
    ],
    /** The cost of a line without a pool. */
    fibers: floorFibers
  }
}

/** All contenders, each once. */
export const all = (who: Contenders): ReadonlyArray<Contender> => [
  ...new Set([...who.pools, ...who.withDeadline, ...who.withCancel, ...who.alone, ...who.inspected, who.fibers])
]
