/* oxlint-disable no-await-in-loop -- One after the other is what these tests are about. */
/** What the thread does, without a thread, so that the coverage counts it: batches, controls, groups, failures as data. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { vi } from "vitest"
import { Handle } from "../../src/sqlite/internal/connection/handle.ts"
import { Units } from "../../src/sqlite/internal/connection/units.ts"
import { Failure, invalidInput } from "../../src/sqlite/internal/failures.ts"
import type { Ran } from "../../src/sqlite/internal/worker/batch.ts"
import { decodeFailure, encodeFailure } from "../../src/sqlite/internal/worker/failureData.ts"
import { encodeParams } from "../../src/sqlite/internal/worker/params.ts"
import { type Outcome, type Pair, pairOf } from "../support/workerPair.ts"

const ended = (outcome: Outcome) => outcome.tag === "ended" ? outcome : assert.fail(JSON.stringify(outcome))

const rowsOf = async (pair: Pair, sql = "select a from t order by rowid") =>
  ended(await pair.statement({ sql })).rows.flat()

const immediate = {
  isolation: "immediate",
  isReadOnly: false,
  why: "",
  isOfDatabase: false,
  statement: undefined,
  foreignKeys: undefined
} as const

const exec = async (pair: Pair, script: string) => ended(await pair.control("exec", "exec", script, 0))

/** A connection to a file, with a table. */
const fileOf = async (use: (pair: Pair, filename: string) => Promise<void>) => {
  const folder = mkdtempSync(join(tmpdir(), "effect-connection-pool-"))
  const filename = join(folder, "test.db")
  try {
    const pair = await pairOf({ filename })
    await exec(pair, "create table t(a unique)")
    await use(pair, filename)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

describe("a batch in a thread", () => {
  const batch = async (pair: Pair, sql: string | undefined, rows: ReadonlyArray<unknown>) =>
    ended(await pair.control("batch", sql, rows, undefined)).value as Ran

  it("runs one statement for many rows, or many statements, and says how far it came", async () => {
    await using pair = await pairOf()
    await exec(pair, "create table t(a unique)")
    ended(await pair.control("begin", immediate))
    const insert = "insert into t values (?)"
    assert.deepStrictEqual(await batch(pair, insert, [encodeParams([1]), encodeParams([2])]), {
      done: 2,
      changes: 2,
      failure: undefined
    })
    const statements = [[insert, encodeParams([3])], [insert, encodeParams([4])], [
      "delete from t where a < 3",
      undefined
    ]]
    assert.deepStrictEqual(await batch(pair, undefined, statements), { done: 3, changes: 4, failure: undefined })
    const twice = await batch(pair, insert, [encodeParams([5]), encodeParams([3]), encodeParams([6])])
    assert.deepStrictEqual([twice.done, (decodeFailure(twice.failure!) as Failure).kind], [1, "code"])
    const returning = await batch(pair, undefined, [["insert into t values (7) returning a", undefined]])
    assert.deepStrictEqual([returning.done, (decodeFailure(returning.failure!) as Failure).kind], [0, "syntax"])
    ended(await pair.control("commit"))
    assert.deepStrictEqual(await rowsOf(pair), [3, 4, 5])
  })
})

describe("the savepoint of a level in a thread", () => {
  it("is undone and ended in one step, also after SQLite has ended the transaction by itself", async () => {
    await using pair = await pairOf()
    await exec(pair, "create table t(a unique)")
    ended(await pair.control("begin", immediate))
    await exec(pair, "insert into t values (1)")
    ended(await pair.control("savepoint", "savepoint", 1))
    await exec(pair, "insert into t values (2)")
    ended(await pair.control("undo", 1))
    ended(await pair.control("savepoint", "savepoint", 1))
    ended(await pair.control("savepoint", "release", 1))
    assert.deepStrictEqual(await rowsOf(pair), [1])
    assert.strictEqual((await pair.statement({ sql: "insert or rollback into t values (1)" })).tag, "failed")
    ended(await pair.control("undo", 1))
    assert.deepStrictEqual(await rowsOf(pair), [])
  })

  it("undoes the whole transaction if it cannot be undone alone, because nobody may wait for it", async () => {
    await using pair = await pairOf()
    await exec(pair, "create table t(a)")
    ended(await pair.control("begin", immediate))
    await exec(pair, "insert into t values (1)")
    assert.strictEqual((await pair.control("undo", 7)).tag, "failed")
    assert.isFalse(pair.host.state.isTransaction)
    assert.deepStrictEqual(await rowsOf(pair), [])
  })
})

describe("a thread whose file was replaced", () => {
  for (const log of [undefined, "empty", "end"] as const) {
    it(`closes it, and leaves the log as it has to (${log})`, () =>
      fileOf(async (pair, filename) => {
        await exec(pair, "insert into t values (1)")
        // The last connection of all deletes the log.
        const other = log === "end" ? undefined : new DatabaseSync(filename)
        other?.prepare("select count(*) from t").get()
        const wal = () => existsSync(`${filename}-wal`) ? statSync(`${filename}-wal`).size : undefined
        const before = wal()
        assert.isAbove(before!, 0)
        const leave = vi.spyOn(Handle.prototype, "leave")
        pair.host.leave(log)
        while (leave.mock.calls.length === 0) await new Promise(setImmediate)
        leave.mockRestore()
        assert.strictEqual(wal(), log === undefined ? before : log === "empty" ? 0 : undefined)
        other?.close()
        const judge = new DatabaseSync(filename)
        assert.strictEqual(judge.prepare("select count(*) as n from t").get()!["n"], 1)
        judge.close()
      }))
  }
})

const together = (pair: Pair, statements: ReadonlyArray<string>) =>
  Promise.all(statements.map((sql) => pair.statement({ sql, way: "rowsOrResult", isShared: true, isAlone: true })))

describe("statements that were to share a commit", () => {
  const inserts = ["insert into t values (1)", "insert into t values (2)", "insert into t values (3)"]

  it("each meet the lock of another process alone", () =>
    fileOf(async (pair, filename) => {
      const other = new DatabaseSync(filename)
      other.exec("begin immediate")
      const outcomes = await together(pair, inserts)
      assert.deepStrictEqual(outcomes.map(({ tag }) => tag), ["failed", "failed", "failed"])
      other.exec("rollback")
      other.close()
      assert.deepStrictEqual((await together(pair, inserts)).map(({ tag }) => tag), ["ended", "ended", "ended"])
      await pair[Symbol.asyncDispose]()
    }))

  it("run alone if their commit fails, and are told why in the numbers of the pool", () =>
    fileOf(async (pair) => {
      const spy = vi.spyOn(Units.prototype, "commit").mockImplementationOnce(() => {
        throw invalidInput("commit", "no room")
      })
      assert.deepStrictEqual((await together(pair, inserts)).map(({ tag }) => tag), ["ended", "ended", "ended"])
      spy.mockRestore()
      const groups = pair.messages.flatMap(({ groups = [] }) => groups)
      assert.deepStrictEqual(groups.map(({ size, undoneBecause }) => [size, undoneBecause]), [[3, "no room"]])
      assert.deepStrictEqual(await rowsOf(pair), [1, 2, 3])
      await pair[Symbol.asyncDispose]()
    }))

  it("all fail if they can be neither committed nor undone: nothing runs inside of what is left", () =>
    fileOf(async (pair) => {
      const fault = () => {
        throw invalidInput("rollback", "stuck")
      }
      const commit = vi.spyOn(Units.prototype, "commit").mockImplementationOnce(fault)
      const real = Units.prototype.rollback
      const rollback = vi.spyOn(Units.prototype, "rollback").mockImplementationOnce(function(this: Units) {
        real.call(this)
        fault()
      })
      const outcomes = await together(pair, inserts)
      assert.deepStrictEqual(
        outcomes.map((outcome) => outcome.tag === "failed" && (outcome.thrown as Failure).message),
        ["stuck", "stuck", "stuck"]
      )
      for (const spy of [commit, rollback]) spy.mockRestore()
      assert.deepStrictEqual(await rowsOf(pair), [])
      await pair[Symbol.asyncDispose]()
    }))
})

describe("a failure as data", () => {
  const sent = (cause: unknown): unknown =>
    (decodeFailure(structuredClone(encodeFailure(new Failure("function", "run", "no", cause, "f"), "run"))) as Failure)
      .cause

  it("keeps the class, the name, the stack, the codes and the causes of an error", () => {
    class Refused extends Error {
      override name = "Refused"
      readonly errcode = 19
      readonly isLate = true
      readonly left = { not: "sent" }
    }
    const error = new TypeError("outer", { cause: new Refused("inner", { cause: new RangeError("innermost") }) })
    const got = sent(error) as Error
    assert.instanceOf(got, TypeError)
    assert.deepStrictEqual([got.message, got.stack], ["outer", error.stack])
    const inner = got.cause as Error & { readonly errcode?: number; readonly isLate?: boolean; readonly left?: unknown }
    assert.deepStrictEqual([inner.name, inner.errcode, inner.isLate, inner.left], ["Refused", 19, true, undefined])
    assert.instanceOf(inner.cause, RangeError)
  })

  it("keeps four causes behind a cause, and no end of a circle", () => {
    const circle = new Error("circle")
    circle.cause = circle
    let depth = 0
    for (let at = sent(circle) as Error | undefined; at !== undefined; at = at.cause as Error | undefined) depth++
    assert.strictEqual(depth, 5)
  })

  it("keeps what else was thrown, or a text that says what it was", () => {
    for (const value of ["text", 1n, undefined, null]) assert.strictEqual(sent(value), value)
    assert.deepStrictEqual(sent({ a: [1] }), { a: [1] })
    assert.strictEqual(sent(() => 1), "a function")
    assert.strictEqual(sent(Symbol("s")), "Symbol(s)")
  })

  it("is an error of Node as it was, where no failure was made of it", () => {
    const error = Object.assign(new Error("no such file"), { code: "ENOENT" })
    const got = decodeFailure(structuredClone(encodeFailure(error, "open"))) as NodeJS.ErrnoException
    assert.deepStrictEqual([got.message, got.code], ["no such file", "ENOENT"])
  })
})
