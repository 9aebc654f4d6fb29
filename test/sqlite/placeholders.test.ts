import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as SqlText from "../../src/sqlite/internal/sql/scanner.ts"

const { read } = SqlText

describe("placeholders", () => {
  const cases: ReadonlyArray<readonly [sql: string, placeholders: ReadonlyArray<string | undefined>]> = [
    ["select 1", []],
    ["select ?, ?", [undefined, undefined]],
    ["select ?2, ?", [undefined, undefined, undefined]],
    ["select ?, ?1, ?1", [undefined]],
    ["select ?3 + ?1", [undefined, undefined, undefined]],
    ["select :a, @a, $a, :a", [":a", "@a", "$a"]],
    ["select :a, ?, :b, ?2", [":a", undefined, ":b"]],
    ["select $a::b::c, $a::b(x,y) as z, $a(", ["$a::b::c", "$a::b(x,y)", "$a("]],
    ["select :änderung, :_1$2", [":änderung", ":_1$2"]],
    ["select a?b", [undefined]],
    ["select a$b, 1:c", [":c"]],
    ["select ':a', 'it''s ?', \"?\"\"?\", `:a``?`, [?]", []],
    ["select ? -- ?\n, ? /* ? */ / ? - ?", [undefined, undefined, undefined, undefined]],
    ["select ? /* ? ** / ?", [undefined]],
    ["select ? /*/ ? */", [undefined]],
    ["select ? -- ?", [undefined]],
    ["select ? 'no end ? ", [undefined]],
    ["select ? [no end ?", [undefined]],
    ["select :, @ , $, ::, ?", [undefined]],
    ["select #a", ["#a"]],
    ["select x'00' || ?", [undefined]],
    // SQLite refuses these numbers itself.
    ["select ?0, ?99999999999", []]
  ]
  for (const [sql, placeholders] of cases) {
    it(`are ${placeholders.length} in ${JSON.stringify(sql)}`, () => {
      const text = read(sql)
      assert.deepStrictEqual(text.placeholders, placeholders)
      assert.strictEqual(text.isNamed, placeholders.some((name) => name !== undefined))
    })
  }

  it("are told apart by whether they have names", () => {
    const kinds = (sql: string) => [read(sql).isPositional, read(sql).isNamed]
    assert.deepStrictEqual(kinds("select 1"), [false, false])
    assert.deepStrictEqual(kinds("select ?"), [true, false])
    assert.deepStrictEqual(kinds("select :a"), [false, true])
    assert.deepStrictEqual(kinds("select :a, ?1"), [true, true])
  })
})

describe("statements", () => {
  const cases: ReadonlyArray<readonly [sql: string, statements: number]> = [
    ["", 0],
    [" \t\n\r\f;;\uFEFF; -- nothing\n/* nothing; */", 0],
    ["select 1", 1],
    [";;select 1;;", 1],
    ["select 1; -- the end\n/* the end */ ;", 1],
    ["select ';'; ", 1],
    ["select 1; select 2", 2],
    ["select 1;;select 2;'x'", 3],
    ["select 1; (", 2],
    ["create trigger t after insert on a begin select 1; select 2; end", 1],
    ["create temp trigger t after insert on a begin select case when 1 then 2 end; end; select 1;", 2],
    ["CREATE TEMPORARY TRIGGER t after insert on a begin update a set x = 'end;'; -- end;\nEND; select 1", 2],
    ["explain query plan create trigger t after insert on a begin select 1; end; select 1", 2],
    ["create trigger t after insert on a begin select 1; ; end ; select 1", 2],
    ["create trigger t after insert on a begin select 1; end x; end; select 1", 2],
    ["create table trigger_x(a); select 1", 2],
    ["create temp table t(a); select 1", 2],
    ["explain select 1; select 2", 2],
    ["1; select 2", 2]
  ]
  for (const [sql, statements] of cases) {
    it(`are ${statements} in ${JSON.stringify(sql)}`, () => assert.strictEqual(read(sql).statements, statements))
  }
})

describe("isRead", () => {
  const reads = [
    "select 1",
    " /* a */ SELECT 1",
    "values (1)",
    "with a as (select 1), b(x) as (values (1)) select * from a",
    "with a as (delete) values (1)",
    "explain select 1",
    "explain query plan insert into t values (1)",
    "explain create trigger t after insert on a begin delete from b; end",
    "pragma table_info(t)",
    "pragma table_info = t",
    "pragma main.index_list(t)",
    "pragma user_version",
    "pragma main.schema_version",
    "pragma integrity_check(user_version)",
    "select 1; delete from t"
  ]
  for (const sql of reads) it(`is true for ${JSON.stringify(sql)}`, () => assert.isTrue(read(sql).isRead))

  const others = [
    "",
    "(select 1)",
    "insert into t select 1",
    "with a as (select 1) insert into t select * from a",
    "with a as (select 1) delete from t",
    "update t set a = (select 1)",
    "delete from t",
    "replace into t values (1)",
    "create table t as select 1",
    "pragma user_version = 1",
    "pragma user_version(1)",
    "pragma foreign_keys",
    "pragma foreign_keys = table_info",
    "pragma wal_checkpoint(truncate)",
    "pragma optimize",
    "pragma \"table_info\"(t)",
    "vacuum",
    "analyze",
    "nonsense select",
    "delete from t; select 1"
  ]
  for (const sql of others) it(`is false for ${JSON.stringify(sql)}`, () => assert.isFalse(read(sql).isRead))
})

describe("controlsTransaction", () => {
  const controls = [
    "begin",
    "BEGIN immediate",
    "commit",
    "end transaction",
    "rollback to x",
    "savepoint x",
    " -- a\nrelease x",
    "select 1; commit",
    "create trigger t after insert on a begin select 1; end; rollback"
  ]
  for (const sql of controls) {
    it(`is true for ${JSON.stringify(sql)}`, () => assert.isTrue(read(sql).controlsTransaction))
  }

  const others = [
    "select 'commit'",
    "select begin from t",
    "insert or rollback into t values (1)",
    "create trigger t after insert on a begin select 1; end",
    "create table savepoint(a)",
    "explain commit",
    "with a as (select 1) select 1 as release"
  ]
  for (const sql of others) {
    it(`is false for ${JSON.stringify(sql)}`, () => assert.isFalse(read(sql).controlsTransaction))
  }
})

describe("isWrite", () => {
  const writes = [
    "insert into t values (1)",
    "INSERT OR IGNORE INTO t VALUES (1)",
    " /* x */ update t set a = 1",
    "delete from t",
    "replace into t values (1)",
    "with a as (select 1) insert into t select * from a",
    "with a as (select 1) replace into t select * from a",
    "with replace as (select 1), b(x) as (values (1)) update t set a = 1",
    "with recursive a(x) as (select 1) delete from t",
    "update t set a = 1; select 1"
  ]
  const others = [
    "select 1",
    "values (1)",
    "create table t as select 1",
    "begin",
    "explain insert into t values (1)",
    "with replace as (select 1) select * from replace",
    "with a as (select 1) values (1)",
    "with a as (select 1) select 'insert into', [delete], \"update\" from a",
    "select 1; update t set a = 1"
  ]
  for (const sql of writes) it(`holds for ${sql}`, () => assert.isTrue(read(sql).isWrite))
  for (const sql of others) it(`does not hold for ${sql}`, () => assert.isFalse(read(sql).isWrite))
})

describe("takesLock", () => {
  const taking = [
    "begin immediate",
    "BEGIN EXCLUSIVE TRANSACTION",
    "begin /* now */ immediate",
    "begin -- now\n exclusive",
    "select 1; begin immediate"
  ]
  const others = [
    "begin",
    "begin deferred",
    "begin transaction; select immediate from t",
    "explain begin immediate",
    "commit"
  ]
  for (const sql of taking) it(`holds for ${JSON.stringify(sql)}`, () => assert.isTrue(read(sql).takesLock))
  for (const sql of others) it(`does not hold for ${sql}`, () => assert.isFalse(read(sql).takesLock))
})

describe("the name of a placeholder", () => {
  it("goes on with any letter, digit, _, $ and everything beyond ASCII, to the first and the last of each", () => {
    for (const part of ["a", "z", "A", "Z", "0", "9", "_", "$", "\u0080", "\uffff"]) {
      assert.deepStrictEqual(read(`select :a${part}b`).placeholders, [`:a${part}b`])
      // After a digit, a letter or `$`, a colon begins another.
      assert.deepStrictEqual(read(`select :${part}`).placeholders, [`:${part}`])
    }
  })

  it("ends with what is next to those in ASCII", () => {
    for (const other of ["`", "{", "@", "[", "/", "^", "#", "%", "\u007f"]) {
      assert.strictEqual(read(`select :a${other}`).placeholders[0], ":a")
    }
    assert.deepStrictEqual(read("select :a:b").placeholders, [":a", ":b"])
  })

  it("goes on in the number of a positional one to the last digit", () => {
    assert.strictEqual(read("select ?9").placeholders.length, 9)
    assert.strictEqual(read("select ?19").placeholders.length, 19)
    assert.strictEqual(read("select ?10").placeholders.length, 10)
  })

  it("cannot begin with a parenthesis: that is no placeholder", () => {
    assert.deepStrictEqual(read("select :(1)").placeholders, [])
    assert.deepStrictEqual(read("select $(a), @(b), ?").placeholders, [undefined])
    assert.deepStrictEqual(read("select :a(1)").placeholders, [":a(1)"])
  })
})

describe("any text", () => {
  it("is read to its end", () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "'",
        "\"",
        "`",
        "[",
        "]",
        "--",
        "\n",
        "/*",
        "*/",
        ";",
        "?",
        ":",
        "$",
        "::",
        "(",
        ")",
        "end",
        "@a"
      ),
      fc.string({ maxLength: 3 })
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        const sql = pieces.join("")
        const text = read(sql)
        assert.isAtMost(text.placeholders.length, 32_766)
        assert.isAtMost(text.statements, sql.length)
      }),
      { numRuns: 500 }
    )
  })
})
