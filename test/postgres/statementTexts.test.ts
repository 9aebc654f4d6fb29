import { assert, describe, it } from "@effect/vitest"
import { scan } from "../../src/postgres/internal/sql/scanner.ts"
import { cleaning, Dirt, StatementTexts, textOf } from "../../src/postgres/internal/sql/statementText.ts"

describe("the code of a statement of PostgreSQL", () => {
  const cases: ReadonlyArray<readonly [sql: string, code: string, parameters: number | undefined]> = [
    ["select $1, $2", "select $1, $2", 2],
    ["select $2", "select $2", 2],
    ["select '$1'", "select ''", 0],
    ["select 'it''s $1', $1", "select '', $1", 1],
    ["select E'\\' $2', $1", "select '', $1", 1],
    // One setting of the server says where this literal ends, so nobody knows.
    ["select '\\' || $1 --'", "select '' || $1 ", undefined],
    ["select \"$3\", $1", "select \"\", $1", 1],
    ["select $$ $4 $$, $1", "select '', $1", 1],
    ["select $a$ $$ $4 $a$, $1", "select '', $1", 1],
    ["select a$1 from t", "select a$1 from t", 0],
    ["select 1 -- $1\n, $2", "select 1 \n, $2", 2],
    ["select /* $1 /* $2 */ $3 */ $1", "select   $1", 1],
    ["select 'open", "select ''", 0],
    ["select $$open", "select ''", 0],
    ["/* open", " ", 0],
    ["select \"é$1\", é$2", "select \"\", é$2", 0],
    ["select \"update\", \"set_config\" (1)", "select \"\", set_config (1)", 0]
  ]
  for (const [sql, code, parameters] of cases) {
    it(`of ${JSON.stringify(sql)} is ${JSON.stringify(code)}`, () => {
      assert.deepStrictEqual(scan(sql), { code, parameters })
    })
  }
})

describe("the text of a statement of PostgreSQL", () => {
  const controls: ReadonlyArray<readonly [sql: string, control: string | undefined]> = [
    ["begin", "begin"],
    [" ; -- a\n /* b */ BEGIN isolation level serializable", "begin"],
    ["start transaction", "begin"],
    ["commit", "end"],
    ["end", "end"],
    ["commit work and no chain", "end"],
    ["commit and chain", "chain"],
    ["rollback", "end"],
    ["abort", "end"],
    ["rollback and chain", "chain"],
    ["rollback to a", "savepoint"],
    ["rollback work to savepoint a", "savepoint"],
    ["rollback transaction to savepoint a", "savepoint"],
    ["savepoint a", "savepoint"],
    ["release a", "savepoint"],
    ["prepare transaction 'a'", "end"],
    ["commit prepared 'a'", undefined],
    ["rollback prepared 'a'", undefined],
    ["prepare a as select 1", undefined],
    ["select 'begin'", undefined],
    ["beginning", undefined]
  ]
  for (const [sql, control] of controls) {
    it(`tells what it does to the transaction: ${JSON.stringify(sql)}, ${control}`, () => {
      assert.strictEqual(textOf(sql).control, control)
    })
  }

  const dirts: ReadonlyArray<readonly [sql: string, dirt: number]> = [
    ["select 1", Dirt.none],
    ["update t set a = 1", Dirt.none],
    ["set search_path = a", Dirt.settings],
    ["SET SESSION search_path = a", Dirt.settings],
    ["set session characteristics as transaction read only", Dirt.settings],
    ["set time zone 'utc'", Dirt.settings],
    ["set local search_path = a", Dirt.none],
    ["set transaction read only", Dirt.none],
    ["set constraints all deferred", Dirt.none],
    ["reset search_path", Dirt.none],
    ["set role a", Dirt.role],
    ["set session role a", Dirt.role],
    ["set session authorization a", Dirt.role],
    ["select set_config('search_path', 'a', false)", Dirt.settings | Dirt.role],
    ["select set_config('search_path', 'a', true)", Dirt.none],
    ["select set_config('a.b', 'a', true), set_config('a.c', 'a', $1)", Dirt.settings | Dirt.role],
    ["select 'set_config('", Dirt.none],
    ["do $$ begin perform set_config('a.b', 'c', false); end $$", Dirt.settings | Dirt.role],
    ["do $$ begin set search_path = a; end $$", Dirt.settings | Dirt.role],
    ["do $$ begin perform 1; end $$", Dirt.none],
    [
      "-- a\n/* b */ do language plpgsql $a$ begin if true then set a.b = 1; end if; end $a$",
      Dirt.settings | Dirt.role
    ],
    ["do 'begin perform set_config(''a.b'', ''1'', false); end'", Dirt.settings | Dirt.role],
    ["do E'begin perform set\\137config(); set a.b = 1; end'", Dirt.settings | Dirt.role],
    ["do $$ begin execute 'set a.b = 1'; end $$", Dirt.settings | Dirt.role],
    ["do $$ begin execute $a$set a.b = 1$a$; end $$", Dirt.settings | Dirt.role],
    ["do $$ begin execute 'listen a'; end $$", Dirt.channels],
    ["do $$ begin listen a; end $$", Dirt.channels],
    ["do $$ begin execute 'prepare a as select 1'; end $$", Dirt.session],
    ["do $$ begin execute 'declare a cursor with hold for select 1'; end $$", Dirt.cursors],
    ["do $$ begin execute 'create temp table a (b int)'; end $$", Dirt.temporaryTables],
    ["do $$ begin perform pg_advisory_lock(1); end $$", Dirt.locks],
    ["do $$ begin update t set a = 1; end $$", Dirt.none],
    ["do $$ begin execute 'update t set a = 1'; end $$", Dirt.none],
    ["do $$ begin execute 'update ' || t || ' set a = 1'; end $$", Dirt.none],
    ["do $$ begin -- set a.b = 1\n/* listen a; */ perform 'set a'; end $$", Dirt.none],
    ["do $$ begin set local a.b = 1; perform set_config('a.b', '1', true); end $$", Dirt.none],
    ["do $$ begin alter table t alter column a set default 1; end $$", Dirt.none],
    ["select \"set_config\"('a.b', '1', false)", Dirt.settings | Dirt.role],
    ["select pg_catalog.\"pg_advisory_lock\"(1)", Dirt.locks],
    ["create table \"pg_temp\".a (b int)", Dirt.temporaryTables],
    ["update pg_settings set setting = '1MB' where name = 'work_mem'", Dirt.settings | Dirt.role],
    ["insert into temp values (1)", Dirt.none],
    ["select 1 as pg_advisory_lock", Dirt.none],
    ["listen a", Dirt.channels],
    ["unlisten a", Dirt.none],
    ["select pg_advisory_lock(1)", Dirt.locks],
    ["select pg_try_advisory_lock_shared(1)", Dirt.locks],
    ["select pg_advisory_xact_lock(1)", Dirt.none],
    ["create temp table a (b int)", Dirt.temporaryTables],
    ["create temp table a (b int) on commit drop", Dirt.none],
    ["create temp table a on commit drop as select 1", Dirt.none],
    ["create temp table a (b text default 'on commit drop')", Dirt.temporaryTables],
    ["create temp table a (b int) on commit delete rows", Dirt.temporaryTables],
    ["do $$ begin create temp table a (b int) on commit drop; end $$", Dirt.none],
    [
      "do $$ begin create temp table a (b int) on commit drop; create temp table c (b int); end $$",
      Dirt.temporaryTables
    ],
    ["create local temporary table a (b int)", Dirt.temporaryTables],
    ["create or replace temp view a as select 1", Dirt.temporaryTables],
    ["select 1 into temp a", Dirt.temporaryTables],
    ["select 1 as temp", Dirt.none],
    ["declare a cursor with hold for select 1", Dirt.cursors],
    ["declare a cursor for select 1", Dirt.none],
    ["prepare a as select 1", Dirt.session],
    ["deallocate all", Dirt.session],
    ["discard all", Dirt.session],
    ["load 'auto_explain'", Dirt.session]
  ]
  for (const [sql, dirt] of dirts) {
    it(`tells what it leaves in the session: ${JSON.stringify(sql)}`, () => {
      assert.strictEqual(textOf(sql).dirt, dirt)
    })
  }

  it("tells whether it has an effect in a transaction only", () => {
    const texts = [
      "set local a = 1",
      "set transaction read only",
      "set constraints all deferred",
      "create temp table a (b int) on commit drop"
    ]
    for (const sql of texts) assert.isTrue(textOf(sql).isLocal, sql)
    for (const sql of ["set a = 1", "create temp table a (b int)", "create table a (b int)"]) {
      assert.isFalse(textOf(sql).isLocal, sql)
    }
  })

  it("tells whether its answer depends on what its session has done before", () => {
    const cases: ReadonlyArray<readonly [string, "statement" | "sequence" | undefined]> = [
      ["execute a", "statement"],
      ["do $$ begin execute 'select 1'; end $$", undefined],
      ["select lastval()", "sequence"],
      ["insert into a values (currval('b'))", "sequence"],
      ["select pg_catalog.\"currval\" ('b')", "sequence"],
      // It takes the value itself.
      ["select nextval('b'), currval('b')", undefined],
      ["select 'lastval()'", undefined],
      ["select lastval from a", undefined]
    ]
    for (const [sql, asks] of cases) assert.strictEqual(textOf(sql).asksSession, asks, sql)
  })

  it("tells why the server must not get it", () => {
    const noCopy = "the driver cannot COPY from or to the client"
    assert.strictEqual(textOf("copy t from stdin").invalid, noCopy)
    assert.strictEqual(textOf("COPY (select 1) TO STDOUT with (format csv)").invalid, noCopy)
    assert.isUndefined(textOf("copy t to '/tmp/stdout'").invalid)
    assert.include(textOf("select 'a\0b'").invalid!, "zero character")
    assert.include(textOf("select '\ud800'").invalid!, "half a surrogate pair")
    assert.isUndefined(textOf("select '\ud83d\ude00'").invalid)
    // Nobody else shares a connection with it.
    assert.isFalse(textOf("select '\0'").isRead)
  })

  it("is cleaned with the statements that it needs, and no other", () => {
    assert.deepStrictEqual(cleaning(Dirt.none), [])
    assert.deepStrictEqual(cleaning(Dirt.locks), ["select pg_advisory_unlock_all()"])
    assert.deepStrictEqual(cleaning(Dirt.role | Dirt.settings | Dirt.channels | Dirt.temporaryTables | Dirt.cursors), [
      "set session authorization default",
      "reset role",
      "close all",
      "unlisten *",
      "discard temp",
      "reset all"
    ])
  })

  it("is read once, and forgotten when there are too many", () => {
    const texts = new StatementTexts()
    const first = texts.read("select 0")
    assert.strictEqual(texts.read("select 0"), first)
    for (let index = 1; index <= 1000; index++) texts.read(`select ${index}`)
    assert.notStrictEqual(texts.read("select 0"), first)
    const long = `select '${"x".repeat(20_000)}'`
    assert.notStrictEqual(texts.read(long), texts.read(long))
  })
})

describe("a statement of PostgreSQL makes its transaction refuse writes", () => {
  const forbidding = [
    "begin read only",
    "begin isolation level repeatable read, read only",
    "start transaction read only",
    "set transaction read only",
    "set local transaction_read_only = on",
    "set session characteristics as transaction read only",
    "select set_config('transaction_read_only', 'on', true)"
  ]
  const others = [
    "begin",
    "begin read write",
    "set local work_mem = '1MB'",
    "select 'read only'",
    "insert into t values (1)"
  ]
  for (const sql of forbidding) it(`maybe: ${sql}`, () => assert.isTrue(textOf(sql).forbidsWrites))
  for (const sql of others) it(`never: ${sql}`, () => assert.isFalse(textOf(sql).forbidsWrites))
})

describe("a statement of PostgreSQL goes to a replica", () => {
  const reads = [
    "select 1",
    "(select 1) union (select 2)",
    "values (1)",
    "table t",
    "with a as (select 1) select * from a",
    "explain select 1",
    "select 'insert into t' from t",
    "select \"update\" from t",
    "select pg_sleep(1)"
  ]
  const others = [
    "insert into t values (1)",
    "with a as (insert into t values (1) returning n) select * from a",
    "with a as (delete from t returning n) select * from a",
    "select * into other from t",
    "select 1 from t for update",
    "select 1 from t for no key update",
    "select 1 from t for share",
    "select 1 from t for key share",
    "explain analyze insert into t values (1)",
    "select nextval('s')",
    "select pg_notify('a', 'b')",
    "select pg_advisory_xact_lock(1)",
    "select pg_try_advisory_lock(1)",
    "select pg_current_wal_lsn()",
    "select pg_terminate_backend(pid) from pg_stat_activity",
    "select pg_cancel_backend(1)",
    "select pg_reload_conf()",
    "select pg_stat_reset()",
    "select set_config('a.b', 'c', false)",
    "show timezone",
    "set local work_mem = '1MB'",
    "begin",
    "call f()",
    "do $$ begin end $$"
  ]
  for (const sql of reads) it(`first: ${sql}`, () => assert.isTrue(textOf(sql).isRead))
  for (const sql of others) it(`never: ${sql}`, () => assert.isFalse(textOf(sql).isRead))
})
