/** Libraries that want a handle of `node:sqlite`, on the handle that a pool lends. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import type { DatabaseSync } from "node:sqlite"
import { kinds, make } from "../support/functions.ts"

/** What this test uses of kysely. The module is a development dependency, and is loaded when the test runs. */
interface Query<A> {
  readonly values: (row: { readonly a: number }) => Query<unknown>
  readonly selectAll: () => Query<A>
  readonly execute: () => Promise<A>
}
interface Kysely {
  readonly insertInto: (table: string) => Query<unknown>
  readonly selectFrom: (table: string) => Query<ReadonlyArray<unknown>>
  readonly transaction: () => { readonly execute: (f: (tx: Kysely) => Promise<unknown>) => Promise<unknown> }
}

const load = async (name: string): Promise<Readonly<Record<string, new(options: object) => object>>> =>
  await import(name)

const isInstalled = (name: string): boolean => {
  try {
    import.meta.resolve(name)
    return true
  } catch {
    return false
  }
}

// A checkout that has not run `npm ci` since the module was added has no test of it. Continuous integration has.
const runs = process.env["CI"] !== undefined || isInstalled("kysely-node-sqlite")

const kysely = async (database: DatabaseSync): Promise<Kysely> => {
  const [{ Kysely }, { SqliteDialect }] = await Promise.all([load("kysely"), load("kysely-node-sqlite")])
  return new Kysely!({ dialect: new SqliteDialect!({ database }) }) as Kysely
}

describe.runIf(runs)("kysely, with kysely-node-sqlite", () => {
  for (const [kind, options] of kinds) {
    it.effect(`queries and has transactions on a handle of a pool ${kind}, which is clean after it`, () =>
      Effect.gen(function*() {
        const pool = yield* make(options)
        const failed = new Error("undo")
        const found = yield* pool.write((connection) =>
          SqliteConnection.withHandle(connection, (database) =>
            Effect.tryPromise(async () => {
              const db = await kysely(database)
              await db.insertInto("u").values({ a: 1 }).execute()
              await db.transaction().execute((tx) => tx.insertInto("u").values({ a: 2 }).execute())
              await db.transaction().execute(async (tx) => {
                await tx.insertInto("u").values({ a: 3 }).execute()
                throw failed
              }).catch((error: unknown) => assert.strictEqual(error, failed))
              return await db.selectFrom("u").selectAll().execute()
            }))
        )
        assert.deepStrictEqual(JSON.stringify(found), JSON.stringify([{ a: 1 }, { a: 2 }]))
        const late = yield* pool.write((connection) =>
          SqliteConnection.withHandle(connection, (database) => Effect.promise(() => kysely(database)))
        )
        const error = yield* Effect.flip(Effect.tryPromise(() => late.insertInto("u").values({ a: 9 }).execute()))
        assert.include(String((error as { readonly cause: unknown }).cause), "ended")
        assert.deepStrictEqual(yield* pool.sql`select a from u`.values, [[1], [2]])
      }))
  }
})
