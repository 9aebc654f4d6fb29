/** How many statements share a commit in a thread, and when they are undone and run again, with a clock that the test moves. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { StatementSync } from "node:sqlite"
import { afterEach, assert, beforeEach, describe, it, vi } from "vitest"
import { codeOfThrown, Failure } from "../../src/sqlite/internal/failures.ts"
import { type Outcome, type Pair, pairOf } from "../support/workerPair.ts"

let now = 0

beforeEach(() => {
  now = 1000
  vi.spyOn(performance, "now").mockImplementation(() => now)
})

afterEach(() => {
  vi.restoreAllMocks()
})

/** A statement that calls it takes so many milliseconds longer. */
const functions = {
  takes: (millis: unknown) => {
    now += millis as number
    return millis as number
  }
}

interface World {
  readonly pair: Pair
  /** The tables of each commit since the schema. */
  readonly commits: Array<ReadonlyArray<string>>
}

const within = async (schema: string, use: (world: World) => Promise<void>) => {
  const folder = mkdtempSync(join(tmpdir(), "effect-connection-pool-"))
  try {
    await using pair = await pairOf({ filename: join(folder, "test.db"), functions })
    await pair.control("exec", "exec", schema, 0)
    const commits: Array<ReadonlyArray<string>> = []
    pair.host.watch({ committed: (changes) => void commits.push(changes.names), haveOthersCommitted: () => {} })
    await use({ pair, commits })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const ask = (pair: Pair, sql: string): Promise<Outcome> =>
  pair.statement({ sql, way: "rowsOrResult", isShared: true, isAlone: true })

const together = (pair: Pair, statements: ReadonlyArray<string>) => Promise.all(statements.map((sql) => ask(pair, sql)))

const inserts = (count: number, from = 0) =>
  Array.from({ length: count }, (_, at) => `insert into t values (${from + at})`)

const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)

const rows = async (pair: Pair, sql = "select a from t order by rowid"): Promise<ReadonlyArray<unknown>> => {
  const outcome = await pair.statement({ sql })
  return outcome.tag === "ended" ? outcome.rows.map(([value]) => value) : [outcome]
}

const codeOf = (outcome: Outcome): unknown =>
  outcome.tag === "failed" && outcome.thrown instanceof Failure ? codeOfThrown(outcome.thrown.cause) : outcome.tag

/** The groups that the thread has told of. */
const groups = ({ messages }: Pair) =>
  messages.flatMap((message) => message.groups ?? []).map(({ size, undoneBecause }) => [size, undoneBecause])

/** Has a statement fail for some times with a code of SQLite. */
const failing = (refused: string, errcode: number, times: number) => {
  let left = times
  for (const method of ["get", "all", "run", "iterate"] as const) {
    const real = StatementSync.prototype[method] as (...args: ReadonlyArray<unknown>) => unknown
    vi.spyOn(StatementSync.prototype, method).mockImplementation(function(this: StatementSync, ...args) {
      if (this.sourceSQL === refused && left-- > 0) {
        throw Object.assign(new Error(`code ${errcode}`), { code: "ERR_SQLITE_ERROR", errcode })
      }
      return Reflect.apply(real, this, args) as never
    })
  }
}

describe("statements that are asked of a thread at the same time", () => {
  it("share one commit, however many they are", () =>
    within("create table t(a)", async ({ commits, pair }) => {
      const outcomes = await together(pair, inserts(200))
      assert.isTrue(outcomes.every(({ tag }) => tag === "ended"))
      assert.strictEqual(commits.length, 1)
      assert.deepStrictEqual(groups(pair), [[200, undefined]])
      assert.deepStrictEqual(await rows(pair), numbers(200))
    }))

  it("are told of the time that each has taken, and the group ends after four milliseconds", () =>
    within("create table t(a)", async ({ commits, pair }) => {
      const slow = Array.from({ length: 7 }, () => "insert into t values (takes(2))")
      const outcomes = await together(pair, slow)
      assert.isTrue(outcomes.every(({ tag }) => tag === "ended"))
      assert.deepStrictEqual(groups(pair), [[2, undefined], [2, undefined], [2, undefined]])
      assert.strictEqual(commits.length, 4)
      const times = pair.messages.flatMap(({ answers }) => answers).map((answer) =>
        "tookMillis" in answer ? answer.tookMillis : undefined
      )
      assert.deepStrictEqual(times.filter((time) => time !== undefined), slow.map(() => 2))
    }))

  it("run in order, and what is not shared between them ends their group", () =>
    within("create table t(a)", async ({ commits, pair }) => {
      const outcomes = await Promise.all([
        ...inserts(3).map((sql) => ask(pair, sql)),
        pair.control("exec", "exec", "insert into t values (3)", 0),
        ...inserts(2, 4).map((sql) => ask(pair, sql))
      ])
      assert.isTrue(outcomes.every(({ tag }) => tag === "ended"))
      assert.deepStrictEqual(groups(pair), [[3, undefined], [2, undefined]])
      assert.strictEqual(commits.length, 3)
      assert.deepStrictEqual(await rows(pair), numbers(6))
    }))

  it("keep what was undone alone, and share again behind it", () =>
    within("create table t(a unique); insert into t values (-1)", async ({ pair }) => {
      const ending = "insert or rollback into t values (-1)"
      const outcomes = await together(pair, [...inserts(2), ending, ...inserts(2, 2)])
      const later = await together(pair, inserts(3, 4))
      assert.deepStrictEqual(outcomes.map(codeOf), ["ended", "ended", 2067, "ended", "ended"])
      assert.isTrue(later.every(({ tag }) => tag === "ended"))
      assert.deepStrictEqual(groups(pair), [[5, "SQLite has ended the transaction"], [3, undefined]])
      assert.deepStrictEqual(await rows(pair), [-1, ...numbers(7)])
    }))
})

describe("statements in a thread that meet a failure that may concern all", () => {
  // BUSY, NOMEM, IOERR, CORRUPT and FULL.
  for (const code of [5, 7, 10, 11, 13]) {
    it(`run again one by one (code ${code})`, () =>
      within("create table t(a)", async ({ commits, pair }) => {
        failing("insert into t values (1)", code, 1)
        const outcomes = await together(pair, inserts(3))
        assert.isTrue(outcomes.every(({ tag }) => tag === "ended"))
        assert.deepStrictEqual(groups(pair).map(([size]) => size), [3])
        assert.isDefined(groups(pair)[0]![1])
        assert.strictEqual(commits.length, 3)
        assert.deepStrictEqual(await rows(pair), [0, 1, 2])
      }))
  }

  it("run again one by one if their commit fails, because none was answered", () =>
    within("create table t(a)", async ({ pair }) => {
      failing("commit", 10, 1)
      const outcomes = await together(pair, inserts(3))
      assert.isTrue(outcomes.every(({ tag }) => tag === "ended"))
      assert.deepStrictEqual(groups(pair), [[3, "code 10"]])
      assert.deepStrictEqual(await rows(pair), [0, 1, 2])
    }))

  it("are told of it by whoever meets it alone, and the others are stored", () =>
    within("create table t(a)", async ({ pair }) => {
      failing("insert into t values (1)", 11, Infinity)
      const outcomes = await together(pair, inserts(3))
      assert.deepStrictEqual(outcomes.map(codeOf), ["ended", 11, "ended"])
      assert.deepStrictEqual(await rows(pair), [0, 2])
    }))
})

describe("a pragma that defers foreign keys on a connection in a thread", () => {
  it("has no statement repair the violation of another", () =>
    within(
      "create table parent(id integer primary key); create table child(p references parent); create table t(a)",
      async ({ pair }) => {
        await pair.control("exec", "exec", "pragma defer_foreign_keys = on", 0)
        const outcomes = await together(pair, ["insert into child values (7)", "insert into parent values (7)"])
        assert.deepStrictEqual(outcomes.map(codeOf), [787, "ended"])
        assert.deepStrictEqual(await rows(pair, "select p from child"), [])
      }
    ))
})
