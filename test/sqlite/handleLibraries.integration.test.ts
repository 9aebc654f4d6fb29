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
  readonly destroy: () => Promise<void>
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
const runs = (name: string): boolean => process.env["CI"] !== undefined || isInstalled(name)

const kysely = async (database: DatabaseSync): Promise<Kysely> => {
  const [{ Kysely }, { SqliteDialect }] = await Promise.all([load("kysely"), load("kysely-node-sqlite")])
  return new Kysely!({ dialect: new SqliteDialect!({ database }) }) as Kysely
}

describe.runIf(runs("kysely-node-sqlite"))("kysely, with kysely-node-sqlite", () => {
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
              const rows = await db.selectFrom("u").selectAll().execute()
              const closed = await db.destroy().catch((error: unknown) => error)
              assert.include(String(closed), "the connection belongs to the pool")
              return rows
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

/** What this test uses of remult. */
interface Remult {
  readonly repo: (entity: object) => Repository
}
interface Repository {
  readonly metadata: object
  readonly insert: (row: object) => Promise<object>
  readonly update: (id: number, row: object) => Promise<object>
  readonly find: (query: object) => Promise<ReadonlyArray<{ readonly title: string }>>
  readonly count: () => Promise<number>
}
interface Provider {
  readonly ensureSchema: (entities: ReadonlyArray<object>) => Promise<void>
  readonly transaction: (f: (provider: Provider) => Promise<unknown>) => Promise<unknown>
}

class Note {
  readonly id = 0
  readonly title = ""
}

const remult = async (database: DatabaseSync) => {
  const { describeEntity, Fields, Remult, SqlDatabase } = await import("remult" as string) as {
    readonly describeEntity: (entity: object, name: string, fields: object) => void
    readonly Fields: { readonly integer: () => object; readonly string: () => object }
    readonly Remult: new(provider: Provider) => Remult
    readonly SqlDatabase: new(provider: object) => Provider
  }
  const { NodeSqliteDataProvider } = await load("remult/remult-node-sqlite")
  describeEntity(Note, "notes", { id: Fields.integer(), title: Fields.string() })
  const provider = new SqlDatabase(new NodeSqliteDataProvider!(database))
  return { provider, notesOf: (of: Provider) => new Remult(of).repo(Note) }
}

describe.runIf(runs("remult"))("remult, with its provider for node:sqlite", () => {
  for (const [kind, options] of kinds) {
    it.effect(`makes its tables, queries and has transactions on a handle of a pool ${kind}`, () =>
      Effect.gen(function*() {
        const pool = yield* make(options)
        const failed = new Error("undo")
        const titles = yield* pool.write((connection) =>
          SqliteConnection.withHandle(connection, (database) =>
            Effect.tryPromise(async () => {
              const { notesOf, provider } = await remult(database)
              const notes = notesOf(provider)
              await provider.ensureSchema([notes.metadata])
              await notes.insert({ id: 1, title: "tea" })
              await provider.transaction(async (inner) => {
                await notesOf(inner).insert({ id: 2, title: "milk" })
                await notesOf(inner).update(1, { title: "green tea" })
              })
              await provider.transaction(async (inner) => {
                await notesOf(inner).insert({ id: 3, title: "undone" })
                throw failed
              }).catch((error: unknown) => assert.strictEqual(error, failed))
              const found = await notes.find({ where: { title: { $contains: "tea" } }, orderBy: { id: "asc" } })
              return [found.map(({ title }) => title), await notes.count()]
            }))
        )
        assert.deepStrictEqual(titles, [["green tea"], 2])
        assert.deepStrictEqual(yield* pool.sql`select title from notes order by id`.values, [["green tea"], ["milk"]])
        if (kind === "in memory") return
        // On a reader, it reads.
        const [count, refused] = yield* pool.read((reader) =>
          SqliteConnection.withHandle(reader, (database) =>
            Effect.tryPromise(async () => {
              const { notesOf, provider } = await remult(database)
              const insert = notesOf(provider).insert({ id: 4, title: "no" })
              return [await notesOf(provider).count(), await insert.catch((error: unknown) => error)]
            }))
        )
        assert.strictEqual(count, 2)
        assert.include(String((refused as { readonly message: string }).message), "readonly")
      }))
  }
})
