/** The library as its users run it: built, and found the way they find it. Its types are those of the source. */
import type * as ConnectionPoolLibrary from "effect-connection-pool"
import type * as SqliteLibrary from "effect-connection-pool/sqlite"
import assert from "node:assert/strict"
import { createRequire } from "node:module"
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"

export type Library = typeof ConnectionPoolLibrary
export type Sqlite = typeof SqliteLibrary

/** Resolves as a module of the library would, for `bench/` is a package of its own. */
const root = createRequire(new URL("../package.json", import.meta.url))

/** Folders of builds: the one to measure, and an earlier one to compare it with. */
export interface Folders {
  /** Default: what `npm run build` makes. */
  readonly library: string | undefined
  /** Default: none. */
  readonly before: string | undefined
}

export interface Libraries {
  readonly library: Library
  readonly before: Library | undefined
}

export const loadAll = async ({ before, library }: Folders): Promise<Libraries> => {
  assert.equal(
    createRequire(import.meta.url).resolve("effect"),
    root.resolve("effect"),
    "there are two copies of effect: bench/ must not have one of its own"
  )
  return {
    library: await load(library === undefined ? root.resolve("effect-connection-pool") : entryOf(library)),
    before: before === undefined ? undefined : await load(entryOf(before))
  }
}

/** The same for its SQLite. */
export const loadSqlite = async ({ library }: Folders): Promise<Sqlite> => {
  const entry = library === undefined
    ? root.resolve("effect-connection-pool/sqlite")
    : resolve(library, "sqlite/index.js")
  return await import(pathToFileURL(entry).href) as Sqlite
}

const entryOf = (folder: string): string => resolve(folder, "index.js")

const load = async (entry: string): Promise<Library> => await import(pathToFileURL(entry).href) as Library
