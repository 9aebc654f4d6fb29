/** The library as its users run it: built, and resolved as they resolve it. Its types come from the source. */
import type * as ConnectionPoolLibrary from "effect-connection-pool"
import type * as InspectorModule from "effect-connection-pool/inspector"
import type * as PostgresLibrary from "effect-connection-pool/postgres"
import type * as SqliteLibrary from "effect-connection-pool/sqlite"
import type * as TestingLibrary from "effect-connection-pool/testing"
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { createRequire } from "node:module"
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"

export type Library = typeof ConnectionPoolLibrary
export type Sqlite = typeof SqliteLibrary
export type InspectorLibrary = typeof InspectorModule
export type Postgres = typeof PostgresLibrary
export type Testing = typeof TestingLibrary

/** Resolves a module as the library does, because `bench/` is another package. */
const root = createRequire(new URL("../package.json", import.meta.url))

/** Folders of builds: the one to measure, and an earlier one to compare it with. */
export interface Folders {
  /** Default: what `npm run build` makes. */
  readonly library: string | undefined
  /** Default: none. */
  readonly before: string | undefined
}

export interface Loaded<A> {
  readonly library: A
  readonly before: A | undefined
}

export type Libraries = Loaded<Library>

export const loadAll = async ({ before, library }: Folders): Promise<Libraries> => {
  assert.equal(
    createRequire(import.meta.url).resolve("effect"),
    root.resolve("effect"),
    "there are two copies of effect: bench/ must not have one of its own"
  )
  for (const folder of [library, before]) if (folder !== undefined) checkEffect(folder)
  return {
    library: await load<Library>(library === undefined ? root.resolve("effect-connection-pool") : entryOf(library)),
    before: before === undefined ? undefined : await load<Library>(entryOf(before))
  }
}

/**
 * A build with an `effect` of its own does not share what the compiler has learned of Effect with anybody else, and
 * looks faster for it: by a tenth for a lease.
 */
const checkEffect = (folder: string): void =>
  assert.equal(
    createRequire(entryOf(folder)).resolve("effect"),
    root.resolve("effect"),
    `the build in ${folder} has a copy of effect of its own: let its node_modules be a symbolic link to those here`
  )

/** The same for its SQLite. */
export const loadSqlite = async ({ before, library }: Folders): Promise<Loaded<Sqlite>> => ({
  library: await load<Sqlite>(
    library === undefined ? root.resolve("effect-connection-pool/sqlite") : sqliteOf(library)
  ),
  before: before === undefined ? undefined : await load<Sqlite>(sqliteOf(before))
})

/** The same for its PostgreSQL. A build from before there was one does not take part. */
export const loadPostgres = async ({ before, library }: Folders): Promise<Loaded<Postgres>> => ({
  library: await load<Postgres>(
    library === undefined ? root.resolve("effect-connection-pool/postgres") : postgresOf(library)
  ),
  before: before !== undefined && hasPostgres(before) ? await load<Postgres>(postgresOf(before)) : undefined
})

export const hasPostgres = (folder: string): boolean => existsSync(postgresOf(folder))

/** The helpers for tests of the build that is measured, which start a server. */
export const loadTesting = ({ library }: Folders): Promise<Testing> =>
  load<Testing>(
    library === undefined ? root.resolve("effect-connection-pool/testing") : resolve(library, "testing/index.js")
  )

/** The inspector of the build that is measured. */
export const loadInspector = ({ library }: Folders): Promise<InspectorLibrary> =>
  load<InspectorLibrary>(
    library === undefined
      ? root.resolve("effect-connection-pool/inspector")
      : resolve(library, "inspector/index.js")
  )

const entryOf = (folder: string): string => resolve(folder, "index.js")

const sqliteOf = (folder: string): string => resolve(folder, "sqlite/index.js")

const postgresOf = (folder: string): string => resolve(folder, "postgres/index.js")

const load = async <A>(entry: string): Promise<A> => await import(pathToFileURL(entry).href) as A
