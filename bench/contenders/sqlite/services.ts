/** Who reads and writes, all of them with the same promise about a loss of power. */
import assert from "node:assert/strict"
import * as BetterSqlite3 from "./betterSqlite3.ts"
import type { Service, SqliteContender } from "./client.ts"
import { type Synchronous, synchronousCode } from "./database.ts"
import { floorGroup } from "./floorGroup.ts"
import * as NodeSqlite from "./nodeSqlite.ts"
import type { ours } from "./ours.ts"
import { serving as original } from "./sqlSqliteNode.ts"
import { type Added, ofBetterSqlite3, ofNode, type Witness } from "./witness.ts"

/** A service, with somebody who counts what it has written. */
export type Witnessed<A> = A & { readonly added: () => Added }

/** The builds of this library, by the prefix of their names. */
export type Builds = ReadonlyArray<readonly [prefix: string, build: ReturnType<typeof ours>]>

type Open<A> = (filename: string) => Promise<A>

export const services =
  (builds: Builds, hasBetterSqlite3: boolean) =>
  (synchronous: Synchronous): ReadonlyArray<SqliteContender<Witnessed<Service>>> => {
    const [, current] = builds[0]!
    const onNode: ReadonlyArray<readonly [string, Open<Service>]> = [
      ["node:sqlite", NodeSqlite.serving(synchronous)],
      ...builds.flatMap(([prefix, { servingSql, servingSync }]) => [
        [`${prefix} sql`, servingSql(synchronous)] as const,
        [`${prefix} writeSync`, servingSync(synchronous)] as const
      ]),
      ["ours: sql, groupCommit off", current.servingSql(synchronous, false)],
      ["ours: writeSync, groupCommit off", current.servingSync(synchronous, false)],
      ["floor: group commit", floorGroup(synchronous)],
      ["@effect/sql-sqlite-node: sql", original(synchronous)]
    ]
    const onBetterSqlite3: ReadonlyArray<readonly [string, Open<Service>]> = [
      ["better-sqlite3", BetterSqlite3.serving(synchronous)],
      ["kysely", async (filename) => (await import("./kysely.ts")).serving(synchronous)(filename)],
      ["drizzle: prepared", async (filename) => (await import("./drizzle.ts")).serving(synchronous)(filename)],
      ["knex: builder", async (filename) => (await import("./knex.ts")).serving(synchronous)(filename)]
    ]
    return [
      ...onNode.map(([name, open]) => witnessed(name, synchronous, open, ofNode)),
      ...(hasBetterSqlite3 ? onBetterSqlite3 : []).map(([name, open]) =>
        witnessed(name, synchronous, open, ofBetterSqlite3)
      )
    ]
  }

/** A service that keeps the promise that it was asked for, beside a connection that counts what it writes. */
export const witnessed = <A extends Service>(
  name: string,
  synchronous: Synchronous,
  open: Open<A>,
  openWitness: (filename: string) => Witness | Promise<Witness>
): SqliteContender<Witnessed<A>> => ({
  name,
  open: async (filename) => {
    const service = await open(filename)
    assert.equal(
      await service.synchronous(),
      synchronousCode[synchronous],
      `${name}: synchronous is not ${synchronous}`
    )
    const { added, close } = await openWitness(filename)
    return {
      ...service,
      added,
      close: async () => {
        close()
        await service.close()
      }
    }
  }
})
