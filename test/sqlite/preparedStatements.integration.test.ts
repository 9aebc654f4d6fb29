import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import * as fc from "fast-check"
import { DatabaseSync } from "node:sqlite"
import { Handle } from "../../src/sqlite/internal/connection/handle.ts"
import {
  type Owner,
  statementBytesToKeep,
  Statements,
  weightOf
} from "../../src/sqlite/internal/connection/preparedStatements.ts"
import { Authorizer } from "../../src/sqlite/internal/sql/authorizer.ts"
import { file, judge } from "../support/files.ts"

const memory = SqliteConnection.open({ filename: ":memory:" })

const long = (length: number) => `select 1 /* ${"x".repeat(length)} */`

/** What a statement of one column and no list weighs. */
const weight = (sql: string) => 4096 + 512 + 8 * Buffer.byteLength(sql)

const list = (length: number, item: string) => Array.from({ length }, () => item).join(",")

const owner: Owner = { admit: () => {}, isTrigger: () => false }

/** Asks for statements by their numbers, and counts how many of them had to be prepared. */
const preparing = (capacity: number) => {
  const database = new DatabaseSync(":memory:")
  const authorizer = new Authorizer(database)
  let prepared = 0
  const prepare = authorizer.prepare.bind(authorizer)
  authorizer.prepare = (...args) => {
    prepared++
    return prepare(...args)
  }
  const statements = new Statements(authorizer, owner, capacity)
  return (ask: (get: (n: number) => void) => void) => {
    const before = prepared
    ask((n) => {
      assert.strictEqual(statements.get("query", `select ${n}`, false).sql, `select ${n}`)
      assert.isAtMost(statements.size, capacity)
    })
    return prepared - before
  }
}
const inTurn = (count: number, rounds: number) => (get: (n: number) => void) => {
  for (let round = 0; round < rounds; round++) for (let n = 0; n < count; n++) get(n)
}

describe("prepared statements", () => {
  it.effect("see a change of the schema, by this connection or another", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const connection = yield* SqliteConnection.open({ filename })
      const other = yield* judge(filename)
      connection.execUnsafe("create table t(a); insert into t values (1)")
      const sql = "select * from t"
      assert.deepStrictEqual(connection.queryUnsafe(sql), [{ a: 1 }])
      connection.execUnsafe("alter table t add column b default 2")
      assert.deepStrictEqual(connection.queryUnsafe(sql), [{ a: 1, b: 2 }])
      assert.deepStrictEqual(connection.valuesUnsafe(sql), [[1, 2]])
      other.exec("alter table t rename column b to c; alter table t add column d default 3")
      assert.deepStrictEqual(connection.queryUnsafe(sql), [{ a: 1, c: 2, d: 3 }])
      other.exec("alter table t drop column a")
      assert.deepStrictEqual(connection.valuesUnsafe(sql), [[2, 3]])
      other.exec("drop table t")
      assert.strictEqual((yield* Effect.flip(connection.query(sql))).message, "no such table: t")
      other.exec("create table t(z); insert into t values (9)")
      assert.deepStrictEqual(connection.queryUnsafe(sql), [{ z: 9 }])
      assert.deepStrictEqual(connection.runUnsafe("insert into t values (?)", [8]).changes, 1)
    }))

  it.effect("do not keep how an earlier caller wanted its rows", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      const sql = "select ? as a"
      const ways = [
        [() => connection.queryUnsafe(sql, [1]), [{ a: 1 }]],
        [() => connection.valuesUnsafe(sql, [1]), [[1]]],
        [() => connection.queryUnsafe(sql, [1], { safeIntegers: true }), [{ a: 1n }]],
        [() => connection.valuesUnsafe(sql, [1], { safeIntegers: true }), [[1n]]],
        [() => connection.runUnsafe(sql, [1]), { changes: 0, lastInsertRowid: 0 }],
        [() => connection.runUnsafe(sql, [1], { safeIntegers: true }), { changes: 0, lastInsertRowid: 0n }]
      ] as const
      for (const [before] of ways) {
        for (const [way, expected] of ways) {
          before()
          assert.deepStrictEqual(way(), expected)
        }
      }
    }))

  it("are bounded, however many texts there are", () => {
    const settings = { filename: ":memory:", isMemory: true, isReadOnly: false, statementCacheSize: 200 }
    const handle = new Handle(settings as Handle["settings"])
    for (let text = 0; text < 10_000; text++) {
      assert.deepStrictEqual(handle.rows("query", `select ${text} as a`, undefined, false, false), [{ a: text }])
      assert.isAtMost(handle.cachedStatements, 200)
    }
    assert.strictEqual(handle.cachedStatements, 200)
    handle.close()
  })

  it("are nearly all there where one more than are kept is used in turn", () => {
    const ask = preparing(100)
    assert.strictEqual(ask(inTurn(100, 10)), 100)
    // Of 101 in each of ten rounds.
    assert.isAtMost(ask(inTurn(101, 10)), 60)
    assert.isAtMost(ask(inTurn(110, 10)), 400)
    assert.isAtMost(ask(inTurn(100, 10)), 100)
  })

  it("stay while they are in use, however many others are used once", () => {
    const ask = preparing(100)
    ask(inTurn(50, 3))
    const once = 2000
    const prepared = ask((get) => {
      for (let n = 0; n < once; n++) {
        get(1000 + n)
        for (let often = 0; often < 10; often++) get((n * 10 + often) % 50)
      }
    })
    assert.isAtMost(prepared - once, once / 100)
  })

  it("are bounded by what they hold too, whatever is asked for", () => {
    const database = new DatabaseSync(":memory:")
    const capacity = 20
    const bytesToKeep = 60_000
    // A statement, a column, and the text around the letters; the rest is eight bytes for each byte of text.
    const longest = Math.floor((bytesToKeep - 4096 - 512) / 8) - 15
    const lengths = fc.oneof(
      fc.integer({ min: 1, max: 100 }),
      fc.integer({ min: 1, max: Math.floor(longest / 3) }),
      fc.integer({ min: longest - 20, max: longest + 20 })
    )
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 30 }), lengths, fc.constantFrom("x", "é")), { maxLength: 40 }),
        (texts) => {
          const statements = new Statements(new Authorizer(database), owner, capacity, bytesToKeep)
          const asked = new Set<string>()
          for (const [which, length, letter] of texts) {
            const sql = `select ${which} /* ${letter.repeat(Math.floor(length / Buffer.byteLength(letter)))} */`
            const found = statements.get("query", sql, false)
            assert.deepStrictEqual(Object.values(found.statement.get()!), [which])
            // What is longer than all together may be is not kept at all; what is used last stays.
            const isKept = weight(sql) <= bytesToKeep
            assert.strictEqual(statements.get("query", sql, false) === found, isKept)
            if (isKept) asked.add(sql)
            const size = Array.from(asked).reduce((sum, sql) => sum + weight(sql), 0)
            assert.isAtMost(statements.size, capacity)
            assert.isAtMost(statements.bytes, bytesToKeep)
            // None is forgotten before there is no room for all.
            if (asked.size > capacity || size > bytesToKeep) return
            assert.strictEqual(statements.size, asked.size)
            assert.strictEqual(statements.bytes, size)
          }
        }
      ),
      { numRuns: 300 }
    )
    database.close()
  })

  it("are not kept where one alone is too long", () => {
    const settings = { filename: ":memory:", isMemory: true, isReadOnly: false, statementCacheSize: 200 }
    const handle = new Handle(settings as Handle["settings"])
    // Eight bytes are counted for each byte of text.
    for (let n = 0; n < 30; n++) handle.rows("query", long(statementBytesToKeep / 32 + n), undefined, false, false)
    assert.strictEqual(handle.cachedStatements, 3)
    handle.rows("query", long(statementBytesToKeep / 8), undefined, false, false)
    assert.strictEqual(handle.cachedStatements, 3)
    handle.close()
  })

  // How many bytes one of them was measured to hold, with Node 24.21.
  const heavy: ReadonlyArray<readonly [what: string, bytes: number, sql: (n: number) => string]> = [
    ["columns of its text", 820_000, (n) => `select ${list(1500, `${n}+1`)}`],
    ["columns of a table", 835_000, (n) => `select wide.*, wide.*, wide.*, ${n} from wide`],
    ["items", 206_000, (n) => `select ${n} where 1 in (${list(1500, `${n}`)})`],
    ["parameters", 286_000, (n) => `select ${n} where 1 in (${list(1500, "?")})`]
  ]
  for (const [what, bytes, sql] of heavy) {
    it(`are bounded in memory where they have many ${what}`, () => {
      const database = new DatabaseSync(":memory:")
      database.exec(`create table wide(${Array.from({ length: 500 }, (_, n) => `column_${n}`).join()})`)
      const statements = new Statements(new Authorizer(database), owner, 200)
      for (let n = 100; n < 200; n++) statements.get("query", sql(n), false)
      // It is an estimate.
      assert.isAtMost(statements.size * bytes, 1.5 * statementBytesToKeep)
      assert.isAtLeast(statements.size * bytes, statementBytesToKeep / 2)
      assert.strictEqual(statements.bytes, statements.size * weightOf(statements.get("query", sql(199), false)))
      database.close()
    })
  }

  it("of an ordinary application are all kept", () => {
    const database = new DatabaseSync(":memory:")
    const statements = new Statements(new Authorizer(database), owner, 200)
    const columns = Array.from({ length: 20 }, (_, n) => `? as some_column_${n}`).join()
    for (let n = 0; n < 200; n++) statements.get("query", `select ${n}, ${columns} /* ${"x".repeat(1000)} */`, false)
    assert.strictEqual(statements.size, 200)
    database.close()
  })

  it.effect("need not be kept at all", () =>
    Effect.gen(function*() {
      const connection = yield* SqliteConnection.open({ filename: ":memory:", statementCacheSize: 0 })
      for (let time = 0; time < 3; time++) {
        assert.deepStrictEqual(connection.valuesUnsafe("select ?", [time]), [[time]])
      }
    }))
})
