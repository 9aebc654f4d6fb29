/* oxlint-disable no-await-in-loop -- One after the other is what these tests are about. */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Handle } from "../../src/sqlite/internal/connection/handle.ts"
import { Failure } from "../../src/sqlite/internal/failures.ts"
import type { Way } from "../../src/sqlite/internal/worker/protocol.ts"
import { toObjects } from "../../src/sqlite/internal/worker/rows.ts"
import { type Outcome, type Pair, pairOf, settingsOf } from "../support/workerPair.ts"

interface Asked {
  readonly sql: string
  readonly params: unknown
  readonly way: Way
  readonly bigInts: boolean
  readonly isAlone: boolean
}

const setup =
  `create table t(id integer primary key, a unique, b text not null default 'x', c check (c is null or c <> 13));
  create table parent(id integer primary key);
  create table child(id references parent deferrable initially deferred);
  create table strict_one(n integer) strict;
  create view v as select id, a from t;
  create table log(what);
  create trigger logged after insert on t begin insert into log values (new.a); end;
  create trigger forbidden before insert on t when new.a = 'forbidden' begin select raise(rollback, 'no way'); end;
  create trigger failing before insert on t when new.a = 'failing' begin select raise(fail, 'it fails'); end;
  insert into t(a, b) values (1, 'one'), ('two', 'Ünïcödé'), (x'0102', ''), (null, 'n'), (9007199254740993, 'big')`

const statements = [
  "select ? as a, ? as b",
  "select ?1, ?1, ?2",
  "select :a as a, @b, $c",
  "select 1 as x, 2 as x, 3 as \"1\", 4 as __proto__",
  "select * from t order by id",
  "select a from t where id = ?",
  "select id, b from t where a = ?",
  "select count(*) from log",
  "select * from v",
  "select * from missing",
  "selekt",
  "",
  "select 1; select 2",
  "select 9007199254740993",
  "select value from json_each('[1,2,9007199254740993]')",
  "select json_extract(value, '$') from json_each('[\"1\", \"{\"]')",
  "insert into t(a, b) values (?, ?)",
  "insert into t(a, b) values (?, ?) returning id, a, b as 'the b'",
  "insert or fail into t(a) values (?), ('fresh' || (select count(*) from t)), (1), ('never')",
  "insert or ignore into t(a) values (?), (1)",
  "insert or replace into t(a) values (?), (1)",
  "insert or rollback into t(a) values (?), (1)",
  "insert into t(a) values ('forbidden')",
  "insert into t(a) values ('more' || (select count(*) from t)), ('failing')",
  "insert into t(a, c) values (?, 13)",
  "insert into child values (?)",
  "insert into strict_one values (?)",
  "update t set b = ? where id <= 3",
  "update t set b = null",
  "delete from t where id > 6 returning id",
  "delete from log",
  "with x as (select ? as n) insert into log select n from x",
  "create table if not exists extra(n)",
  "drop table if exists extra",
  "create table extra(n)",
  "alter table t add column d",
  "alter table t drop column d",
  "alter table log rename column what to whatever",
  "begin",
  "begin immediate",
  "commit",
  "rollback",
  "savepoint s",
  "release s",
  "rollback to s",
  "pragma user_version",
  "pragma user_version = 7",
  "pragma foreign_keys = off",
  "pragma table_info(t)",
  "create temp table mine(n)",
  "attach ':memory:' as other",
  "detach other",
  "vacuum",
  "vacuum",
  "analyze",
  "explain query plan select * from t",
  // Not `changes()`: where a foreign key fails at the commit, it also counts the statement that is undone.
  "select last_insert_rowid()",
  "select zeroblob(3), x'', 1e999, -1e999, 0.1, -0.0, ''"
]

const value = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    0,
    -0,
    1,
    13,
    1.5,
    Infinity,
    2 ** 53,
    -(2 ** 53),
    9007199254740993n,
    2n ** 63n - 1n
  ),
  fc.constantFrom<unknown>("", "two", "forbidden", "a\0b", "x".repeat(300), "😀", "it's"),
  fc.constantFrom<unknown>(undefined, Number.NaN, new Date(0), 2n ** 63n, "\ud800", Symbol("s"), () => 1, {}, [1], /x/),
  fc.integer(),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.double(),
  fc.string({ unit: "binary" }),
  fc.uint8Array({ maxLength: 20 }),
  fc.uint8Array({ minLength: 4, maxLength: 20 }).map((bytes) => bytes.subarray(1, 3)),
  fc.constant(Buffer.from("from a shared slab")),
  fc.constant(new Uint16Array([1, 2, 3])),
  fc.constant(new Uint8Array([7, 8]).buffer),
  fc.constant(new ArrayBuffer(0))
)

const params = fc.oneof(
  { weight: 4, arbitrary: fc.array(value, { maxLength: 3 }) },
  { weight: 2, arbitrary: fc.tuple(value) },
  { weight: 2, arbitrary: fc.tuple(value, value) },
  { weight: 2, arbitrary: fc.constant(undefined) },
  fc.record({ a: value, b: value, c: value }),
  fc.record({ ":a": value, "@b": value, $c: value }),
  fc.record({ a: value, b: value, d: value }),
  fc.constantFrom<unknown>(null, 5, "text", new Map(), Object.create(null))
)

const asked: fc.Arbitrary<Asked> = fc.record({
  sql: fc.constantFrom(...statements),
  params,
  way: fc.constantFrom<Way>("rows", "rowsOrResult", "result"),
  bigInts: fc.boolean(),
  isAlone: fc.boolean()
})

/** An error as users see it. */
const seen = (thrown: unknown): unknown => {
  assert.instanceOf(thrown, Failure)
  const { cause, kind, message, operation } = thrown
  const { name, ...rest } = cause as Error & { code?: unknown; errcode?: unknown; errstr?: unknown }
  const { code, errcode, errstr } = cause as typeof rest
  return { kind, message, operation, cause: { name, message: (cause as Error).message, code, errcode, errstr } }
}

const inProcess = (handle: Handle, { bigInts, isAlone, params, sql, way }: Asked): unknown => {
  try {
    switch (way) {
      case "rows":
        return { rows: handle.rows("query", sql, params as never, false, bigInts, isAlone) }
      case "rowsOrResult": {
        const found = handle.rowsOrResult("query", sql, params as never, bigInts, isAlone)
        return Array.isArray(found) ? { rows: found } : { value: found }
      }
      case "result":
        return { value: handle.run("query", sql, params as never, bigInts, isAlone) }
    }
  } catch (thrown) {
    return seen(thrown)
  }
}

const inThread = (outcome: Outcome): unknown => {
  switch (outcome.tag) {
    case "failed":
      return seen(outcome.thrown)
    case "cancelled":
      return outcome
    case "ended":
      return outcome.value === undefined
        ? { rows: toObjects(outcome.rows, outcome.columns) }
        : { value: outcome.value }
  }
}

/** Makes the connection as it was before the lease, as a pool does after one that has left something behind. */
const reset = (handle: Handle): void => {
  handle.closeCursors()
  handle.rollback("reset")
  if (handle.session.isAltered) handle.session.undo()
}

const state = (handle: Handle) => ({
  isUsable: handle.isUsable,
  needsReset: handle.needsReset,
  isTransaction: handle.isTransaction("test"),
  isPinning: handle.isPinning
})

/** More for a longer look: `WORKER_RUNS=10000 npm test -- test/sqlite/workerEqual`. */
const runs = Number(process.env["WORKER_RUNS"] ?? 60)
const timeout = runs * 1000 + 120_000

const check = async (all: ReadonlyArray<Asked>): Promise<void> => {
  const handle = new Handle(settingsOf({ filename: ":memory:" }))
  handle.configure()
  handle.endOpening()
  await using pair: Pair = await pairOf()
  handle.exec("exec", setup)
  await pair.control("exec", "exec", setup, 0)
  for (const one of all) {
    const expected = inProcess(handle, one)
    assert.deepStrictEqual(inThread(await pair.statement(one)), expected, JSON.stringify(one.sql))
    assert.deepStrictEqual(pair.host.state, state(handle), `the state after ${one.sql}`)
  }
  const dump = "select 'all' as what, * from t order by id"
  const last = { sql: dump, params: undefined, way: "rows", bigInts: true, isAlone: false } as const
  assert.deepStrictEqual(inThread(await pair.statement(last)), inProcess(handle, last))
  reset(handle)
  await pair.control("reset", false)
  assert.deepStrictEqual(inThread(await pair.statement(last)), inProcess(handle, last))
  assert.deepStrictEqual(pair.host.state, state(handle))
  handle.close()
}

describe("a connection in a thread", () => {
  it("answers every statement as a connection in process does", async () => {
    await fc.assert(fc.asyncProperty(fc.array(asked, { minLength: 1, maxLength: 25 }), check), { numRuns: runs })
  }, timeout)

  it("keeps a statement that cannot run in a transaction out of one, however often it runs", async () => {
    const vacuum = { sql: "vacuum", params: undefined, way: "result", bigInts: false, isAlone: false } as const
    await check([{ ...vacuum, sql: "begin" }, vacuum, { ...vacuum, sql: "rollback" }, vacuum, vacuum, vacuum])
  })

  it("answers many statements at the same time, in their order", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(asked, { minLength: 1, maxLength: 300 }), async (all) => {
        const handle = new Handle(settingsOf({ filename: ":memory:" }))
        handle.configure()
        handle.endOpening()
        await using pair = await pairOf()
        handle.exec("exec", setup)
        void pair.control("exec", "exec", setup, 0)
        const outcomes = await Promise.all(all.map((one) => pair.statement(one)))
        for (const [at, one] of all.entries()) {
          assert.deepStrictEqual(inThread(outcomes[at]!), inProcess(handle, one), JSON.stringify(one.sql))
        }
        handle.close()
      }),
      { numRuns: Math.ceil(runs / 3) }
    )
  }, timeout)
})
