/** What a lease leaves on its connection, and what the next lease finds of it: nothing. */
import { assert } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { PoolEvent } from "effect-connection-pool"
import type { PgConnection } from "effect-connection-pool/postgres"
import { describeServer, make, until } from "../support/postgres.ts"

/** Everything that a session may have of an earlier lease. */
const remains = `select
  current_setting('search_path') as path,
  current_setting('app.user', true) as own,
  current_user::text as role,
  (select count(*)::int4 from pg_listening_channels()) as channels,
  (select count(*)::int4 from pg_locks where locktype = 'advisory') as locks,
  (select count(*)::int4 from pg_class where relpersistence = 't') as tables,
  (select count(*)::int4 from pg_cursors where is_holdable) as cursors`

const clean: Readonly<Record<string, unknown>> = {
  path: "public",
  own: "",
  role: "postgres",
  channels: 0,
  locks: 0,
  tables: 0,
  cursors: 0
}

describeServer("a lease of a PostgreSQL connection", (it) => {
  const soilings: ReadonlyArray<readonly [what: string, statements: ReadonlyArray<string>]> = [
    ["a transaction", ["begin", "insert into t values (1)"]],
    ["a transaction that has failed", ["begin", "insert into t values (1)", "select 1 / 0"]],
    ["a transaction with another after it", ["begin", "commit and chain", "insert into t values (1)"]],
    ["a setting", ["set search_path = pg_catalog"]],
    ["a setting made by a function call", ["select set_config('app.user', 'ada', false)"]],
    ["a setting made in a block", ["do $$ begin perform set_config('app.user', 'ada', false); end $$"]],
    ["a setting made in a block that executes a text", ["do $$ begin execute 'set app.user = 1'; end $$"]],
    ["a setting made by a function whose name is in quotes", ["select \"set_config\"('app.user', 'ada', false)"]],
    ["a setting made by a change of `pg_settings`", [
      "update pg_settings set setting = 'pg_catalog' where name = 'search_path'"
    ]],
    ["a role", ["set role other"]],
    ["a role and a setting", ["set role other", "set search_path = pg_catalog"]],
    ["a session of another role", ["set session authorization other"]],
    ["a channel", ["listen news"]],
    ["an advisory lock", ["select pg_advisory_lock(7)"]],
    ["a temporary table", ["create temp table own (n int)"]],
    ["a cursor", ["declare c cursor with hold for select 1"]],
    ["all of it", [
      "create temp table own (n int)",
      "listen news",
      "select pg_try_advisory_lock_shared(7)",
      "declare c cursor with hold for select 1",
      "set role other",
      "set search_path = pg_catalog",
      "begin",
      "select 1"
    ]]
  ]
  for (const [what, statements] of soilings) {
    it.effect(`leaves nothing of ${what} to the next`, () =>
      Effect.gen(function*() {
        const { backends, db, value } = yield* make({
          max: 1,
          startupParameters: { search_path: "public" },
          setup: [
            "create table t (n int)",
            "do $$ begin create role other; exception when duplicate_object then null; end $$"
          ]
        })
        const soil = (connection: PgConnection.PgConnection) =>
          Effect.forEach(statements, (sql) => Effect.ignore(connection.query(sql)), { discard: true })
        const before = yield* db.write((connection) => Effect.andThen(soil(connection), connection.processId))
        const [after, found] = yield* db.write((connection) =>
          Effect.all([connection.processId, connection.query(remains)])
        )
        // An own setting that was reset is empty, and one that was never there is null.
        assert.deepStrictEqual({ ...found[0], own: found[0]!["own"] === null ? "" : found[0]!["own"] }, { ...clean })
        assert.strictEqual(after, before)
        assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
        assert.deepStrictEqual((yield* backends).map(({ state }) => state), ["idle"])
      }))
  }

  it.effect("is that of one block, which `sql` runs, and leaves nothing of it", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({ max: 1, setup: ["create table t (n int)", "insert into t values (1)"] })
      // Such a statement has `set` in it, and leaves nothing.
      yield* db.sql.unsafe("do $$ begin update t set n = 2; end $$")
      assert.strictEqual((yield* db.stats).primary.resets, 0)
      // What it leaves may be for its own statements.
      yield* db.sql.unsafe(
        "do $$ begin perform pg_advisory_lock(7); create temp table own (n int); insert into t values (3); end $$"
      )
      assert.deepStrictEqual((yield* db.write((connection) => connection.query(remains)))[0]!["locks"], 0)
      assert.strictEqual(yield* value("select sum(n)::int4 from t"), 5)
    }))

  it.effect("costs the next nothing where it has left nothing", () =>
    Effect.gen(function*() {
      const { backends, db } = yield* make({ max: 1, setup: ["create table t (n int)"] })
      yield* db.sql`insert into t values (1)`
      yield* db.transaction(db.sql`set local search_path = pg_catalog`)
      yield* db.write((connection) => connection.query("select 7 as last"))
      // The last statement of the session is that of the lease: no reset came after it.
      assert.deepStrictEqual((yield* backends).map(({ query }) => query), ["select 7 as last"])
      assert.strictEqual((yield* db.stats).primary.resets, 0)
    }))

  it.effect("keeps the statements that the driver has prepared", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1 })
      const prepared = "select count(*)::int4 as n from pg_prepared_statements where statement = 'select 42'"
      yield* db.sql`select 42`
      yield* db.write((connection) => connection.query("create temp table own (n int)"))
      yield* db.write((connection) => connection.query("set search_path = pg_catalog"))
      assert.deepStrictEqual(yield* db.sql.unsafe(prepared), [{ n: 1 }])
    }))

  for (const sql of ["prepare own as select 1", "deallocate all", "discard all"]) {
    it.effect(`has its connection replaced where it cannot be made clean: ${sql}`, () =>
      Effect.gen(function*() {
        const { backends, db } = yield* make({ max: 1 })
        const before = yield* db.write((connection) => Effect.andThen(connection.query(sql), connection.processId))
        const after = yield* db.write((connection) => connection.processId)
        assert.notStrictEqual(after, before)
        yield* until("the old one is gone", Effect.map(backends, (all) => all.length === 1))
      }))
  }

  it.effect("that leaves a transaction open is reported", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1 })
      const reported: Array<string | undefined> = []
      yield* Effect.forkScoped(
        Stream.runForEach(db.primary.events, (event) =>
          Effect.sync(() => {
            if (PoolEvent.$is("TransactionLeftOpen")(event)) reported.push(event.holder.label)
          })),
        { startImmediately: true }
      )
      yield* db.write((connection) => connection.query("begin"), { label: "import" })
      assert.isFalse(yield* db.write((connection) => connection.isTransaction, { label: "report" }))
      yield* until("it is reported", Effect.sync(() => reported.length > 0))
      assert.deepStrictEqual(reported, ["import"])
    }))

  it.effect("knows whether its transaction is open", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1 })
      const steps: ReadonlyArray<readonly [sql: string, isOpen: boolean]> = [
        ["begin", true],
        ["savepoint a", true],
        ["rollback to a", true],
        ["begin", true],
        ["commit", false],
        ["start transaction", true],
        ["select 1 / 0", true],
        ["begin", true],
        ["commit", false],
        ["begin nonsense", false],
        ["begin", true],
        ["commit nonsense", true],
        ["rollback and chain", true],
        ["abort", false],
        ["select 'begin'", false]
      ]
      yield* db.write((connection) =>
        Effect.forEach(steps, ([sql, isOpen]) =>
          Effect.gen(function*() {
            yield* Effect.ignore(connection.query(sql))
            assert.strictEqual(yield* connection.isTransaction, isOpen, sql)
          }), { discard: true })
      )
    }))
})
