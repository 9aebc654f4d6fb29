/** What pragmas set in one lease, and what the next lease sees of it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { PoolError, TransactionError } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import type { SqlError } from "effect/sql/SqlError"
import { DatabaseSync } from "node:sqlite"
import { file } from "../support/files.ts"

/** Two values for each pragma that sets something on its connection, one of which is not the default. */
const settable: ReadonlyMap<string, readonly [string, string]> = new Map(Object.entries({
  analysis_limit: ["7", "9"],
  automatic_index: ["off", "on"],
  busy_timeout: ["7", "9"],
  cache_size: ["7", "9"],
  cache_spill: ["off", "7"],
  cell_size_check: ["on", "off"],
  checkpoint_fullfsync: ["on", "off"],
  count_changes: ["on", "off"],
  defer_foreign_keys: ["on", "off"],
  empty_result_callbacks: ["on", "off"],
  foreign_keys: ["off", "on"],
  full_column_names: ["on", "off"],
  fullfsync: ["on", "off"],
  ignore_check_constraints: ["on", "off"],
  journal_mode: ["off", "memory"],
  journal_size_limit: ["7", "9"],
  legacy_alter_table: ["on", "off"],
  locking_mode: ["exclusive", "normal"],
  max_page_count: ["50", "60"],
  mmap_size: ["65536", "0"],
  query_only: ["on", "off"],
  read_uncommitted: ["on", "off"],
  recursive_triggers: ["on", "off"],
  reverse_unordered_selects: ["on", "off"],
  secure_delete: ["on", "fast"],
  short_column_names: ["off", "on"],
  synchronous: ["off", "full"],
  temp_store: ["file", "memory"],
  threads: ["2", "0"],
  trusted_schema: ["off", "on"],
  wal_autocheckpoint: ["7", "9"]
}))

/** They hold for the whole process. */
const ofProcess = ["hard_heap_limit", "soft_heap_limit", "temp_store_directory"]

/** They ask, do something, are kept in the file, are refused, or, as the last one, are tested by themselves. */
const others = [
  "application_id",
  "auto_vacuum",
  "collation_list",
  "compile_options",
  "data_version",
  "database_list",
  "default_cache_size",
  "encoding",
  "foreign_key_check",
  "foreign_key_list",
  "freelist_count",
  "function_list",
  "incremental_vacuum",
  "index_info",
  "index_list",
  "index_xinfo",
  "integrity_check",
  "module_list",
  "optimize",
  "page_count",
  "page_size",
  "pragma_list",
  "quick_check",
  "schema_version",
  "shrink_memory",
  "table_info",
  "table_list",
  "table_xinfo",
  "user_version",
  "wal_checkpoint",
  "writable_schema",
  "case_sensitive_like"
]

type Failure =
  | SqlError
  | PoolError.PoolError<SqlError>
  | PoolError.LeaseExpiredError
  | TransactionError.TransactionError

type OnOpen = SqlitePool.Options["onOpen"]

const make = Effect.fnUntraced(function*(filename: string, onOpen?: OnOpen) {
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, onOpen })
  yield* pool.sql`create table if not exists t(a)`
  return pool
})

describe("a pragma set in a lease", () => {
  it("is one that these tests know", () => {
    const database = new DatabaseSync(":memory:")
    const names = database.prepare("select name from pragma_pragma_list").all().map(({ name }) => String(name))
    assert.sameMembers(names, [...settable.keys(), ...ofProcess, ...others])
    database.close()
  })

  for (const where of ["a file", "memory"]) {
    const filename = where === "memory" ? Effect.succeed(":memory:") : file

    it.effect(`does not reach the next lease, in ${where}`, () =>
      Effect.gen(function*() {
        const pool = yield* make(yield* filename)
        let changed = 0
        for (const [pragma, values] of settable) {
          const now = pool.writeSync((connection) => connection.valuesUnsafe(`pragma ${pragma}`))
          const before = yield* now
          for (const value of values) {
            const within = yield* pool.write((connection) =>
              Effect.andThen(connection.exec(`pragma ${pragma} = ${value}`), connection.values(`pragma ${pragma}`))
            )
            if (String(within) !== String(before)) changed++
            assert.deepStrictEqual(yield* now, before, `${pragma} = ${value}`)
          }
        }
        // Else this would show nothing.
        assert.isAtLeast(changed, settable.size - 4)
        yield* pool.write((connection) => connection.exec("pragma case_sensitive_like = on"))
        const like = yield* pool.write((connection) => connection.values("select 'a' like 'A'"))
        assert.deepStrictEqual(like, [[1]])
      }))

    it.effect(`gives way to that of onOpen, in ${where}`, () =>
      Effect.gen(function*() {
        const script = "pragma max_page_count = 70; pragma recursive_triggers = on; pragma case_sensitive_like = on;" +
          "pragma threads = 3; attach ':memory:' as other; pragma other.cache_size = 11"
        const pool = yield* make(yield* filename, (connection) => connection.exec(script))
        yield* pool.write((connection) =>
          connection.exec(
            "pragma max_page_count = 99; pragma recursive_triggers = off; pragma case_sensitive_like = off;" +
              "pragma threads = 1; pragma other.cache_size = 12"
          )
        )
        const seen = yield* pool.writeSync((connection) =>
          [
            "pragma max_page_count",
            "pragma recursive_triggers",
            "select 'a' like 'A'",
            "pragma threads",
            "pragma other.cache_size"
          ]
            .map((sql) => connection.valuesUnsafe(sql)[0]![0])
        )
        assert.deepStrictEqual(seen, [70, 1, 0, 3, 11])
      }))

    it.effect(`is refused where it holds for the whole process, in ${where}`, () =>
      Effect.gen(function*() {
        const pool = yield* make(yield* filename)
        for (const pragma of ofProcess) {
          const sql = `pragma ${pragma} = '1000000'`
          const ways: ReadonlyArray<Effect.Effect<unknown, Failure>> = [
            pool.write((connection) => connection.exec(sql)),
            pool.write((connection) => connection.values(sql)),
            pool.transaction(pool.sql.unsafe(sql)),
            pool.sql.unsafe(sql)
          ]
          for (const way of ways) {
            const said = yield* Effect.catch(
              Effect.as(way, "not refused"),
              (error) =>
                Effect.succeed(error._tag === "SqlError" ? `${error.reason._tag}: ${error.message}` : error._tag)
            )
            assert.include(said, "AuthorizationError")
            assert.include(said, "the whole process")
          }
        }
        assert.deepStrictEqual(yield* pool.sql`pragma soft_heap_limit`.values, [[0]])
      }))
  }
})
