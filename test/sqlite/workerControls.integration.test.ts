/* oxlint-disable no-await-in-loop -- One after the other is what these tests are about. */
import { assert, describe, it } from "@effect/vitest"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { codeOfThrown, Failure } from "../../src/sqlite/internal/failures.ts"
import { type Reads, tableOf } from "../../src/sqlite/internal/sql/tables.ts"
import { decodeFailure } from "../../src/sqlite/internal/worker/failureData.ts"
import type { Executed } from "../../src/sqlite/internal/worker/protocol.ts"
import { collecting, type Outcome, type Pair, pairOf } from "../support/workerPair.ts"

const value = (outcome: Outcome): unknown =>
  outcome.tag === "ended" ? outcome.value : assert.fail(`it was not done: ${JSON.stringify(outcome)}`)

const failure = (outcome: Outcome): Failure => {
  if (outcome.tag !== "failed") return assert.fail(`it did not fail: ${JSON.stringify(outcome)}`)
  assert.instanceOf(outcome.thrown, Failure)
  return outcome.thrown
}

const rows = async (pair: Pair, sql = "select a from t") => {
  const outcome = await pair.statement({ sql })
  return outcome.tag === "ended" ? outcome.rows.flat() : assert.fail(JSON.stringify(outcome))
}

const withTable = async (options?: object): Promise<Pair> => {
  const pair = await pairOf(options)
  await pair.control("exec", "exec", "create table t(a unique)", 0)
  return pair
}

const insert = (pair: Pair, a: number) =>
  pair.statement({ sql: "insert into t values (?)", params: [a], way: "result" })

const immediate = {
  isolation: "immediate",
  isReadOnly: false,
  why: "this transaction is read-only: leave out `readOnly`",
  isOfDatabase: false,
  statement: undefined,
  foreignKeys: undefined
} as const

describe("a transaction in a thread", () => {
  it("is stored by its commit, and by nothing before", async () => {
    await using pair = await withTable()
    value(await pair.control("begin", immediate))
    assert.isTrue(pair.host.state.isTransaction)
    await insert(pair, 1)
    value(await pair.control("savepoint", "savepoint", 1))
    await insert(pair, 2)
    value(await pair.control("undo", 1))
    assert.isTrue(value(await pair.control("isTransaction")))
    value(await pair.control("commit"))
    assert.isFalse(pair.host.state.isTransaction)
    assert.deepStrictEqual(await rows(pair), [1])
  })

  it("is undone by its rollback, and by a reset, with the cursors in it", async () => {
    await using pair = await withTable()
    await insert(pair, 1)
    for (const name of ["rollback", "reset"] as const) {
      await pair.control("begin", immediate)
      await insert(pair, 2)
      const { outcome, receiver } = collecting(() => {})
      pair.host.statement({
        operation: "stream",
        way: "rows",
        sql:
          "select a from t, (with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000) select i from n)",
        params: undefined,
        bigInts: false,
        isAlone: false,
        isStream: true
      }, receiver)
      value(name === "rollback" ? await pair.control("rollback") : await pair.control("reset", false))
      assert.deepStrictEqual([pair.host.state.isTransaction, pair.host.state.isPinning], [false, false])
      pair.host.cancelAll()
      await outcome
      assert.deepStrictEqual(await rows(pair), [1])
    }
  })

  it("is not committed if its commit was cancelled before it began", async () => {
    await using pair = await withTable()
    await pair.control("begin", immediate)
    await insert(pair, 1)
    const { outcome, receiver } = collecting(() => {})
    const commit = pair.host.control("commit", [], receiver)
    assert.isTrue(pair.host.cancel(commit))
    assert.deepStrictEqual(await outcome, { tag: "cancelled" })
    await pair.control("rollback")
    assert.deepStrictEqual(await rows(pair), [])
  })

  it("that only reads refuses writes with its reason, until it ends", async () => {
    await using pair = await withTable()
    value(await pair.control("begin", { ...immediate, isReadOnly: true }))
    const refused = failure(await insert(pair, 1))
    assert.strictEqual(codeOfThrown(refused.cause), 8)
    assert.include(refused.message, "this transaction is read-only: leave out `readOnly`")
    value(await pair.control("commit"))
    value(await insert(pair, 1))
  })

  it("that SQLite has ended is seen in the state after the statement", async () => {
    await using pair = await withTable()
    await insert(pair, 1)
    await pair.control("begin", immediate)
    const lost = failure(await pair.statement({ sql: "insert or rollback into t values (1)", way: "result" }))
    assert.strictEqual(codeOfThrown(lost.cause), 2067)
    assert.isFalse(pair.host.state.isTransaction)
  })
})

describe("what the statements of a snapshot have read, in a thread", () => {
  it("is noted from the question for it until the snapshot ends, and no longer", async () => {
    await using pair = await withTable()
    const readOnly = { ...immediate, isReadOnly: true }
    await pair.control("begin", readOnly)
    await pair.control("collect")
    await rows(pair)
    const { isEverything, keys } = value(await pair.control("reads")) as Reads
    assert.deepStrictEqual([isEverything, [...keys].map(tableOf)], [false, ["t"]])
    for (const name of ["rollback", "reset"] as const) {
      await pair.control("collect")
      value(name === "rollback" ? await pair.control("rollback") : await pair.control("reset", false))
      await rows(pair)
      // Nothing was noted since, and so it is not known.
      assert.isTrue((value(await pair.control("reads")) as Reads).isEverything, name)
      await pair.control("begin", readOnly)
    }
  })
})

describe("the commits of others, in a thread", () => {
  it("are reported from the last question on, also those that came before the thread was told to report", async () => {
    const folder = mkdtempSync(join(tmpdir(), "effect-connection-pool-"))
    try {
      const filename = join(folder, "test.db")
      await using pair = await withTable({ filename })
      using other = new DatabaseSync(filename)
      let told = 0
      const watch = () => pair.host.watch({ committed: () => {}, haveOthersCommitted: () => void told++ })
      // The messages are handled later than this commit.
      watch()
      other.exec("insert into t values (1)")
      await pair.control("isTransaction")
      assert.strictEqual(told, 1)
      await pair.control("isTransaction")
      assert.strictEqual(told, 1)
      other.exec("insert into t values (2)")
      await pair.control("isTransaction")
      assert.strictEqual(told, 2)
      pair.host.watch(undefined)
      watch()
      await pair.control("isTransaction")
      assert.strictEqual(told, 2)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})

describe("a script in a thread", () => {
  it("says how far it has come when it fails, and goes on from there", async () => {
    await using pair = await withTable()
    const script = "insert into t values (1); insert into t values (1); insert into t values (2)"
    const first = value(await pair.control("exec", "exec", script, 0)) as Executed
    assert.strictEqual(first.done, "insert into t values (1);".length)
    assert.strictEqual(codeOfThrown((decodeFailure(first.failure!) as Failure).cause), 2067)
    await pair.statement({ sql: "delete from t", way: "result" })
    const second = value(await pair.control("exec", "exec", script, first.done)) as Executed
    assert.isUndefined(second.failure)
    assert.deepStrictEqual(await rows(pair), [1, 2])
  })
})

describe("a file in a thread", () => {
  it("fails with the code of a lock, and is stored when another has let it go", async () => {
    const folder = mkdtempSync(join(tmpdir(), "effect-connection-pool-worker-"))
    try {
      const filename = join(folder, "test.db")
      await using pair = await withTable({ filename })
      const other = new DatabaseSync(filename)
      other.exec("begin immediate")
      const locked = failure(await insert(pair, 1))
      assert.deepStrictEqual([codeOfThrown(locked.cause), locked.operation, locked.message], [
        5,
        "query",
        "database is locked"
      ])
      assert.isFalse(pair.host.state.isTransaction)
      other.exec("commit")
      other.close()
      value(await insert(pair, 1))
      // What changes the connection itself is undone by a reset.
      await pair.control("exec", "exec", "create temp table mine(a)", 0)
      assert.isTrue(pair.host.state.needsReset)
      value(await pair.control("reset", false))
      assert.isFalse(pair.host.state.needsReset)
      assert.include(failure(await pair.statement({ sql: "select * from mine" })).message, "no such table: mine")
      assert.deepStrictEqual(await rows(pair), [1])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
