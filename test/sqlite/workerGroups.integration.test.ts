import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "vitest"
import { Failure } from "../../src/sqlite/internal/failures.ts"
import type { Way } from "../../src/sqlite/internal/worker/protocol.ts"
import { type Outcome, type Pair, pairOf } from "../support/workerPair.ts"

/** A connection to a file, with the tables of each commit. */
const fileOf = async (setup: string, use: (pair: Pair, commits: Array<ReadonlyArray<string>>) => Promise<void>) => {
  const folder = mkdtempSync(join(tmpdir(), "effect-connection-pool-"))
  try {
    await using pair = await pairOf({ filename: join(folder, "test.db") })
    await pair.control("exec", "exec", setup, 0)
    const commits: Array<ReadonlyArray<string>> = []
    pair.host.watch({ committed: (changes) => void commits.push(changes.names), haveOthersCommitted: () => {} })
    await use(pair, commits)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Runs statements of different callers, all asked for in one step. */
const together = (
  pair: Pair,
  statements: ReadonlyArray<string>,
  way: Way = "rowsOrResult"
): Promise<ReadonlyArray<Outcome>> =>
  Promise.all(statements.map((sql) => pair.statement({ sql, way, isShared: true, isAlone: true })))

const rows = async (pair: Pair, sql = "select a from t order by rowid"): Promise<ReadonlyArray<unknown>> => {
  const outcome = await pair.statement({ sql })
  return outcome.tag === "ended" ? outcome.rows.map(([value]) => value) : [outcome]
}

const codeOf = (outcome: Outcome): unknown =>
  outcome.tag === "failed" && outcome.thrown instanceof Failure
    ? (outcome.thrown.cause as { readonly errcode?: number }).errcode
    : outcome.tag

const inserts = (count: number) => Array.from({ length: count }, (_, at) => `insert into t values (${at})`)

describe("statements that share a commit in a thread", () => {
  it("are committed together, and each gets its own result", () =>
    fileOf("create table t(a unique)", async (pair, commits) => {
      const outcomes = await together(pair, [...inserts(20), "insert into t values (20) returning a", "delete from t"])
      assert.isBelow(commits.length, 11)
      assert.strictEqual(outcomes.filter(({ tag }) => tag === "ended").length, 22)
      const returned = outcomes[20]!
      assert.deepStrictEqual(returned.tag === "ended" && returned.rows, [[20]])
      const last = outcomes[21]!
      assert.deepStrictEqual(last.tag === "ended" && (last.value as { readonly changes: number }).changes, 21)
      assert.deepStrictEqual(await rows(pair), [])
    }))

  it("get their own failures, which undo nothing of the others", () =>
    fileOf("create table t(a unique); insert into t values (-1)", async (pair) => {
      const outcomes = await together(pair, [
        "insert into t values (1)",
        "insert into t values (-1)",
        "insert into nowhere values (1)",
        "insert or fail into t values (2), (-1), (3)",
        "insert into t values (4)"
      ])
      assert.deepStrictEqual(outcomes.map(codeOf), ["ended", 2067, 1, 2067, "ended"])
      assert.deepStrictEqual(await rows(pair), [-1, 1, 2, 4])
    }))

  // In a transaction, SQLite leaves a part of such a statement. Rows are asked for in one way, results in another.
  const stoppedMidway = [
    "insert into strict_one select v from mixed",
    "insert into strict_one select v from mixed returning n",
    "insert or fail into strict_one select v from mixed",
    "insert or replace into numbered select v from mixed",
    "insert into plain select sum(v) from grouped group by g"
  ]
  for (const way of ["rows", "rowsOrResult", "result"] as const) {
    for (const statement of stoppedMidway.filter((sql) => way !== "result" || !sql.includes("returning"))) {
      it(`leave nothing of one that has failed midway (${way}: ${statement})`, () =>
        fileOf(
          `create table t(a unique); insert into t values (-1);
          create table strict_one(n integer) strict; create table numbered(n integer primary key); create table plain(n);
          create table mixed(v); insert into mixed values (1), ('x'), (2);
          create table grouped(v, g); insert into grouped values (1, 1), (9223372036854775807, 2), (1, 2)`,
          async (pair) => {
            const company = (round: number) =>
              together(pair, [
                `insert into t values (${round})`,
                statement,
                `insert or fail into t values (${10 * round}), (-1)`,
                `insert into t values (${100 * round})`
              ], way)
            // In the first group it is a surprise. In the second, each statement can be undone by itself.
            const outcomes = [...await company(1), ...await company(2)]
            const each = ["ended", "failed", "failed", "ended"]
            assert.deepStrictEqual(outcomes.map(({ tag }) => tag), [...each, ...each])
            assert.deepStrictEqual(await rows(pair), [-1, 1, 10, 100, 2, 20, 200])
            const left = "select n from strict_one union all select n from numbered union all select n from plain"
            assert.deepStrictEqual(await rows(pair, left), [])
          }
        ))
    }
  }

  it("run alone if one of them ends the transaction of all", () =>
    fileOf("create table t(a unique); insert into t values (-1)", async (pair) => {
      const outcomes = await together(pair, [
        "insert into t values (1)",
        "insert or rollback into t values (2), (-1)",
        "insert into t values (3)"
      ])
      assert.deepStrictEqual(outcomes.map(codeOf), ["ended", 2067, "ended"])
      assert.deepStrictEqual(await rows(pair), [-1, 1, 3])
    }))

  it("run alone if the rows of one need several messages", () =>
    fileOf("create table t(a)", async (pair, commits) => {
      const many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1200) " +
        "insert into t select i from n returning a"
      const outcomes = await together(pair, ["insert into t values (0)", many, "insert into t values (-1)"])
      const returned = outcomes[1]!
      assert.strictEqual(returned.tag === "ended" && returned.rows.length, 1200)
      assert.strictEqual((await rows(pair)).length, 1202)
      assert.isAtLeast(commits.length, 3)
    }))

  it("are not shared where foreign keys are deferred: an orphan could be cured by a neighbour", () =>
    fileOf(
      "create table p(id integer primary key); create table t(a references p deferrable initially deferred)",
      async (pair) => {
        const outcomes = await together(pair, [
          "insert into t values (7)",
          "insert into p values (7)",
          "insert into t values (7)"
        ])
        assert.deepStrictEqual(outcomes.map(codeOf), [787, "ended", "ended"])
        assert.deepStrictEqual(await rows(pair), [7])
      }
    ))

  it("store nothing of one that is cancelled before their commit, and the others run", () =>
    fileOf("create table t(a)", async (pair) => {
      const outcomes: Array<Promise<Outcome>> = []
      let cancelled = false
      for (const at of [1, 2, 3, 4]) {
        if (at !== 3) outcomes.push(pair.statement({ sql: `insert into t values (${at})`, isShared: true }))
        else {
          const { promise, resolve } = Promise.withResolvers<Outcome>()
          const pending = pair.host.statement({
            operation: "query",
            way: "rows",
            sql: "insert into t values (3)",
            params: undefined,
            bigInts: false,
            isAlone: false,
            isStream: false,
            isShared: true,
            mayStore: true
          }, {
            rows: () => {},
            ended: (value) => resolve({ tag: "ended", value, rows: [], columns: [], chunks: [] }),
            failed: (thrown, isUnknown) => resolve({ tag: "failed", thrown, isUnknown }),
            cancelled: () => resolve({ tag: "cancelled" })
          })
          outcomes.push(promise)
          // After the requests were sent, before the thread has seen them.
          queueMicrotask(() =>
            queueMicrotask(() => {
              cancelled = pair.host.cancel(pending)
            })
          )
        }
      }
      const ended = await Promise.all(outcomes)
      assert.isTrue(cancelled)
      assert.deepStrictEqual(ended.map(({ tag }) => tag), ["ended", "ended", "cancelled", "ended"])
      assert.deepStrictEqual(await rows(pair), [1, 2, 4])
    }))
})
