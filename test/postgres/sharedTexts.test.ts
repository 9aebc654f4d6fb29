/** Which statements may share a connection, by their text. */
import { assert, describe, it } from "@effect/vitest"
import { mayShare } from "../../src/postgres/internal/sql/mayShare.ts"
import { Sharing } from "../../src/postgres/internal/sql/sharing.ts"
import { textOf } from "../../src/postgres/internal/sql/statementText.ts"

const shares = (sql: string, ...functions: ReadonlyArray<string>) => mayShare(textOf(sql), new Set(functions))

describe("a statement that may share a connection", () => {
  it("only reads, and calls only functions that compute", () => {
    for (
      const sql of [
        "select id, name from person where id = $1",
        "SELECT count(*), max(a), string_agg(b, ',' order by b) FROM t GROUP BY c HAVING count(*) > 1",
        "select * from t where a in ($1, $2) and (b = 1 or not (c)) and exists (select 1) and d = any($3)",
        "with recent as (select 1), other as materialized (values (1, 2)) select * from recent, other as o (a, b)",
        "with recursive t(n) as (values (1) union all select n + 1 from t) select * from t limit (3)",
        "select coalesce(lower(name), '') from t as x (name) join lateral (select 1) y on (true)",
        "select cast(a as numeric(10, 2)), b::varchar(3), extract(year from c), now() from t",
        "select rank() over (partition by a), sum(b) filter (where b > 0) over w from t window w as (order by a)",
        "select pg_catalog.upper('a'), 'pg_sleep(1)' as \"text\" -- set_config('a', 'b', false)",
        "select data -> 'a', jsonb_agg(data) from t, jsonb_array_elements(data) as e (item), generate_series(1, 3)",
        "(select 1) union (select 2)",
        "values (1), (2)",
        "table person"
      ]
    ) assert.isTrue(shares(sql), sql)
  })

  it("does not write, lock, or change its session", () => {
    for (
      const sql of [
        "insert into t values (1)",
        "with added as (insert into t values (1) returning 1) select * from added",
        "select * from t for update",
        "select * into u from t",
        "select nextval('s')",
        "select set_config('search_path', 'a', false)",
        "select set_config('search_path', 'a', true)",
        "select pg_advisory_lock(1)",
        "select pg_advisory_xact_lock(1)",
        "select pg_try_advisory_lock(1)",
        "select pg_notify('a', 'b')",
        "select setseed(0.5)",
        "select currval('s')",
        "listen a",
        "set search_path = a",
        "set local search_path = a",
        "reset all",
        "show search_path",
        "begin",
        "commit",
        "declare c cursor for select 1",
        "fetch all from c",
        "prepare p as select 1",
        "execute p",
        "explain analyze select 1",
        "copy t to stdout",
        "do 'begin end'",
        "call p()",
        "lock table t",
        "select 1 from pg_temp.t"
      ]
    ) assert.isFalse(shares(sql), sql)
  })

  it("asks nothing about its session or the server, and does not sleep", () => {
    for (
      const sql of [
        "select pg_backend_pid()",
        "select pg_sleep(1)",
        "select current_setting('search_path')",
        "select * from pg_settings",
        "select * from pg_catalog.pg_prepared_statements",
        "select * from pg_locks where pid = 1",
        "select inet_server_port()",
        "select query_to_xml('delete from t', true, true, '')",
        "select ts_stat('select 1')"
      ]
    ) assert.isFalse(shares(sql), sql)
  })

  it("calls no function of the application, which may do anything, unless that is named", () => {
    for (
      const sql of [
        "select full_name(p) from person p",
        "select app.lower(name) from person",
        "select app . full_name (p) from person p",
        "select \"full_name\"(p) from person p",
        "select pg_catalog.\"set_config\"('a', 'b', false)",
        "select * from visible(1) as v (id)",
        "select count(*) from t where similarity(a, $1) > 0.5"
      ]
    ) assert.isFalse(shares(sql), sql)
    assert.isTrue(shares("select Full_Name(p) from person p", "full_name"))
    assert.isTrue(shares("select app . full_name (p) from person p", "app.full_name"))
    assert.isFalse(shares("select full_name(p) from person p", "app.full_name"))
    assert.isTrue(shares("select pg_backend_pid()", "pg_backend_pid"))
    // A name does not make a write a read.
    assert.isFalse(shares("select set_config('a', 'b', false)", "set_config"))
    assert.isFalse(shares("insert into t select full_name(p) from person p", "full_name"))
  })
})

const ran = (sharing: Sharing, times: number) => {
  for (let time = 0; time < times; time++) sharing.ran(true)
}

describe("what is known of a text", () => {
  it("admits it after a quick run on a connection of its own, and not after a slow one", () => {
    const sharing = new Sharing(true)
    assert.isFalse(sharing.isAdmitted)
    sharing.ran(false)
    assert.isFalse(sharing.isAdmitted)
    assert.isTrue(sharing.isOnTrial)
    sharing.ran(true)
    assert.isTrue(sharing.isAdmitted)
    assert.isFalse(sharing.isOnTrial)
  })

  it("wants twice as many quick runs in a row each time that it has held up others, up to 1024, and fewer again later", () => {
    const sharing = new Sharing(true)
    ran(sharing, 1)
    for (let needed = 2; needed <= 1024; needed *= 2) {
      sharing.heldUp()
      ran(sharing, needed - 1)
      assert.isFalse(sharing.isAdmitted, String(needed))
      sharing.ran(false)
      ran(sharing, needed - 1)
      assert.isFalse(sharing.isAdmitted, String(needed))
      ran(sharing, 1)
      assert.isTrue(sharing.isAdmitted, String(needed))
    }
    sharing.heldUp()
    ran(sharing, 1024)
    assert.isTrue(sharing.isAdmitted)
    for (let time = 0; time < 128 * 10; time++) sharing.wentWell()
    sharing.heldUp()
    ran(sharing, 2)
    assert.isTrue(sharing.isAdmitted)
  })

  it("never admits what may not share, or has written", () => {
    const never = new Sharing(false)
    ran(never, 3)
    assert.isFalse(never.isAdmitted)
    assert.isFalse(never.isOnTrial)
    const written = new Sharing(true)
    ran(written, 1)
    written.never()
    assert.isFalse(written.isAdmitted)
    assert.isFalse(written.isOnTrial)
  })
})
