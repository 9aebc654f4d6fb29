/** Which writes have an observed query run again: SQLite says what both touch. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { reading } from "../support/observing.ts"

const schema = `
  create table t(a integer primary key, b);
  create table other(a integer primary key, b);
  create table Mixed(Name);
  create view v as select a, b from t;
  create view vv as select b from v;
  create table parent(id integer primary key);
  create table child(id integer primary key, parent references parent on delete cascade on update cascade);
  create table setNull(parent references parent on delete set null on update cascade);
  create table logged(a); create table log(a);
  create trigger logs after insert on logged begin insert into log values (new.a); end;
  create view door as select a from logged;
  create trigger opens instead of insert on door begin insert into logged values (new.a); end;
  create table short(a primary key, b) without rowid;
  create table counted(id integer primary key autoincrement, b);
  create table doc(id integer primary key, title, body);
  create virtual table text using fts5(body);
  create virtual table found using fts5(title, body, content='doc', content_rowid='id');
  create virtual table words using fts5vocab(text, row);
  create virtual table box using rtree(id, low, high);
  create virtual table pages using dbstat;
  insert into t values (1, 1), (2, 2); insert into other values (1, 1); insert into parent values (1), (2);
  insert into child values (1, 1); insert into setNull values (1); insert into short values (1, 1);
  insert into doc values (1, 'a', 'hello world'); insert into text values ('hello world');
  insert into found(rowid, title, body) values (1, 'a', 'hello world'); insert into box values (1, 0, 1);`

/** A query, the writes after which it has to run again, and those after which it need not. */
interface Case {
  readonly query: string
  readonly touched: ReadonlyArray<string>
  readonly untouched: ReadonlyArray<string>
}

const cases: ReadonlyArray<Case> = [
  {
    query: "select b from t where a = 1",
    touched: [
      "insert into t values (3, 3)",
      "insert or replace into t values (1, 4)",
      "insert into t values (1, 1) on conflict do update set b = 5",
      "update t set b = 6",
      "update or ignore T set B = 7 where A = 1",
      "delete from t where a = 3",
      "with x as (select 1 as n) update t set b = n from x",
      "delete from t",
      "replace into t values (1, 1)"
    ],
    untouched: ["insert into other values (3, 3)", "update other set b = (select max(b) from t)", "delete from other"]
  },
  { query: "select count(*) from T", touched: ["insert into t values (3, 3)", "delete from t"], untouched: [] },
  { query: "select exists(select 1 from t)", touched: ["delete from t"], untouched: ["delete from other"] },
  { query: "select rowid from mixed", touched: ["insert into MIXED values (1)"], untouched: ["delete from t"] },
  { query: "select * from vv", touched: ["update t set b = 3"], untouched: ["update other set b = 3"] },
  { query: "select count(*) from vv", touched: ["delete from t"], untouched: ["delete from other"] },
  {
    query: "with recursive x(n) as (select 1 union all select n + 1 from x where n < 3) select count(*) from x",
    touched: [],
    untouched: ["delete from t"]
  },
  { query: "with x as (select a from t) select count(*) from x", touched: ["delete from t"], untouched: [] },
  {
    query: "select (select max(b) from t) from other",
    touched: ["update t set b = 9", "delete from other"],
    untouched: []
  },
  { query: "select 1 as one", touched: [], untouched: ["delete from t"] },
  {
    query: "select count(*) as n from sqlite_schema",
    touched: ["create table another(a)"],
    untouched: ["delete from t"]
  },
  { query: "select value from json_each('[1, 2]')", touched: [], untouched: ["delete from t"] },
  {
    query: "select * from child",
    touched: [
      "update parent set id = 5 where id = 1",
      "insert or replace into parent values (5)",
      "delete from parent where id = 2",
      "delete from parent"
    ],
    untouched: ["delete from t"]
  },
  { query: "select * from setNull", touched: ["delete from parent"], untouched: ["delete from t"] },
  {
    query: "select * from log",
    touched: ["insert into logged values (1)", "insert into door values (2)"],
    untouched: ["update logged set a = 2"]
  },
  {
    query: "select * from short",
    touched: ["update short set b = 2", "delete from short"],
    untouched: ["delete from t"]
  },
  { query: "select name, seq from sqlite_sequence", touched: ["insert into counted(b) values (1)"], untouched: [] },
  {
    query: "select body from text where text match 'hello'",
    touched: ["insert into text values ('hello again')", "delete from text where rowid = 1"],
    untouched: ["delete from t", "insert into doc values (9, 'x', 'y')"]
  },
  // Its columns come from another table, also if the text was found before.
  {
    query: "select title from found where found match 'hello'",
    touched: [
      "update doc set title = 'b'",
      "insert into doc values (2, 'c', 'hello')",
      "insert into found(rowid, title, body) values (2, 'c', 'hello')"
    ],
    untouched: ["delete from t"]
  },
  { query: "select count(*) from pages", touched: ["insert into other values (8, 8)"], untouched: [] },
  { query: "select count(*) from dbstat", touched: ["insert into other values (8, 8)"], untouched: [] },
  { query: "select term from words", touched: ["insert into text values ('new')"], untouched: [] },
  {
    query: "select id from box where low < 5",
    touched: ["insert into box values (2, 1, 2)"],
    untouched: ["delete from t"]
  },
  {
    query: "select user_version from pragma_user_version",
    touched: ["pragma user_version = 3"],
    untouched: ["delete from t"]
  },
  { query: "pragma user_version", touched: ["pragma user_version = 4"], untouched: ["delete from t"] },
  { query: "select * from pragma_foreign_key_check", touched: ["insert into child values (7, 1)"], untouched: [] },
  {
    query: "select * from t",
    touched: [
      "alter table t add column c",
      "create index byB on t(b)",
      "create table fresh(a)",
      "drop view vv",
      "alter table other rename to renamed",
      "drop table renamed",
      "vacuum"
    ],
    untouched: ["reindex", "pragma wal_checkpoint"]
  }
]

describe("an observed query", () => {
  for (const { query, touched, untouched } of cases) {
    it.effect(`runs again exactly after what touches it: ${query}`, () =>
      Effect.gen(function*() {
        const pool = yield* SqlitePool.makeTemporary({ observeInterval: Infinity })
        yield* pool.write((connection) => connection.exec(schema))
        // Virtual tables keep statements for later queries, so SQLite does not name again what those read.
        yield* pool.read((reader) => reader.query(`${query} /* another text */`))
        const results = yield* reading(pool.observe(query))
        yield* results.next
        assert.isUndefined(yield* results.now)
        for (const sql of untouched) {
          yield* pool.write((connection) => connection.run(sql))
          assert.isUndefined(yield* results.now, sql)
        }
        for (const sql of touched) {
          yield* pool.write((connection) => connection.run(sql))
          const expected = yield* pool.read((reader) => reader.query(query))
          assert.deepStrictEqual(yield* results.now, expected, sql)
          assert.isUndefined(yield* results.now, sql)
        }
      }))
  }

  it.effect("counts what a text means after a change of the schema, in statements that were prepared before it", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.makeTemporary({ observeInterval: Infinity })
      yield* pool.write((connection) => connection.exec(schema))
      const query = "select * from v"
      const insert = (sql: string) => pool.write((connection) => connection.run(sql))
      // All are prepared on their connections, with what they mean now.
      yield* insert("insert into t values (7, 7)")
      yield* insert("insert into logged values (0)")
      const views = yield* reading(pool.observe(query))
      const logs = yield* reading(pool.observe("select * from log"))
      yield* views.next
      yield* logs.next
      yield* pool.write((connection) =>
        connection.exec(`drop view v; create view v as select a from other;
          create trigger logsToo after insert on t begin insert into log values (new.a); end`)
      )
      yield* views.next
      yield* logs.next
      yield* insert("insert into other values (9, 9)")
      assert.deepEqual(yield* views.now, [{ a: 1 }, { a: 9 }])
      yield* insert("delete from t")
      yield* insert("insert into t values (7, 7)")
      assert.deepEqual(yield* logs.now, [{ a: 0 }, { a: 7 }])
    }))

  it.effect("distinguishes tables of the same name in attached databases, and sees those of the others", () =>
    Effect.gen(function*() {
      const archive = yield* SqlitePool.makeTemporary()
      yield* archive.sql`create table t(a)`
      const pool = yield* SqlitePool.makeTemporary({
        observeInterval: Infinity,
        onOpen: (connection) => connection.exec(`attach '${archive.filename}' as Archive`)
      })
      yield* pool.sql`create table t(a)`
      const ours = yield* reading(pool.observe("select a from main.t"))
      const theirs = yield* reading(pool.observe("select a from ARCHIVE.t"))
      const counts = yield* reading(pool.observe("select count(*) as n from Archive.t"))
      for (const results of [ours, theirs, counts]) yield* results.next
      yield* pool.sql`insert into archive.t values (1)`
      assert.isUndefined(yield* ours.now)
      assert.deepEqual(yield* theirs.now, [{ a: 1 }])
      assert.deepEqual(yield* counts.now, [{ n: 1 }])
      yield* pool.sql`insert into t values (2)`
      assert.deepEqual(yield* ours.now, [{ a: 2 }])
      assert.isUndefined(yield* theirs.now)
      // Another pool commits in the attached file: seen when a lease of the writer ends.
      yield* archive.sql`insert into t values (3)`
      yield* pool.write(() => Effect.void)
      assert.deepEqual(yield* theirs.now, [{ a: 1 }, { a: 3 }])
    }))
})
