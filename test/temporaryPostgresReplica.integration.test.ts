/** The replica for tests, judged by itself and by its primary. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import { describeServer, Server, until } from "./support/postgres.ts"

describeServer("a temporary replica of a PostgreSQL server", (it) => {
  it.effect("has what its primary has, follows it, and refuses writes", () =>
    Effect.gen(function*() {
      const primary = yield* Server
      yield* primary.query("create table before (n int)")
      const replica = yield* primary.replica()
      yield* primary.query("create table after (n int)")
      yield* replica.caughtUp
      assert.deepStrictEqual(
        yield* replica.query(
          "select pg_is_in_recovery() as follows, to_regclass('before')::text as b, to_regclass('after')::text as a"
        ),
        [{ follows: true, b: "before", a: "after" }]
      )
      const refused = yield* PoolAssert.failsWith(
        replica.query("insert into after values (1)"),
        "TemporaryPostgresError"
      )
      assert.include(refused.message, "read-only transaction")
    }))

  it.effect("says why it cannot start", () =>
    Effect.gen(function*() {
      const primary = yield* Server
      const error = yield* PoolAssert.failsWith(
        primary.replica({ parameters: { max_connections: 5 } }),
        "TemporaryPostgresError"
      )
      assert.match(error.message, /the server has ended: .*FATAL: .*insufficient parameter settings/)
    }))

  it.effect("lags behind while its replay is paused, and catches up afterwards", () =>
    Effect.gen(function*() {
      const primary = yield* Server
      const replica = yield* primary.replica()
      yield* primary.query("create table lagging (n int)")
      yield* replica.caughtUp
      const seen = Effect.map(replica.query("select count(*)::int4 as n from lagging"), ([row]) => row?.["n"])
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        yield* primary.query("insert into lagging values (1)")
        // It has received the row, so only its replay is late.
        yield* until(
          "it is received",
          Effect.map(
            primary.query("select bool_and(flush_lsn >= pg_current_wal_lsn()) as is from pg_stat_replication"),
            ([row]) => row?.["is"] === true
          )
        )
        assert.strictEqual(yield* seen, 0)
      }))
      yield* replica.caughtUp
      assert.strictEqual(yield* seen, 1)
    }))

  it.effect("takes writes once it is promoted, on a timeline of its own, and the old primary comes back as it was", () =>
    Effect.gen(function*() {
      const primary = yield* Server
      const replica = yield* primary.replica()
      yield* primary.stop("immediate")
      yield* replica.promote
      yield* replica.query("create table only_here (n int)")
      yield* primary.start
      const timeline =
        "select substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) as t, to_regclass('only_here')::text as o"
      assert.deepStrictEqual(yield* replica.query(timeline), [{ t: "00000002", o: "only_here" }])
      assert.deepStrictEqual(yield* primary.query(timeline), [{ t: "00000001", o: null }])
    }))
})
