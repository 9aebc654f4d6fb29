/* oxlint-disable no-await-in-loop -- One after the other is what these tests are about. */
import { assert, describe, it } from "@effect/vitest"
import { Failure } from "../../src/sqlite/internal/failures.ts"
import { bytesPerChunk, chunksAhead, mostRequests, rowsPerChunk } from "../../src/sqlite/internal/worker/protocol.ts"
import { collecting, type Outcome, type Pair, pairOf } from "../support/workerPair.ts"

const numbers = (count: number, column = "i") =>
  `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${count}) select ${column} from n`

const ended = (outcome: Outcome) => {
  if (outcome.tag !== "ended") return assert.fail(JSON.stringify(outcome))
  return outcome
}

/** Waits until all messages have arrived that are on the way. */
const turns = async () => {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Asks for rows, and takes them only when it is told to. */
const reluctant = (pair: Pair, sql: string, isStream: boolean) => {
  let taken = 0
  const { outcome, receiver } = collecting(() => taken++)
  const pending = pair.host.statement(
    { operation: "query", way: "rows", sql, params: undefined, bigInts: false, isAlone: false, isStream },
    receiver
  )
  return { pending, outcome, taken: () => taken, take: (chunks: number) => pair.host.credit(pending, chunks) }
}

describe("the rows of a statement in a thread", () => {
  it("come in chunks of 500, in order", async () => {
    await using pair = await pairOf()
    const { chunks, rows } = ended(await pair.statement({ sql: numbers(1750) }))
    assert.deepStrictEqual(chunks, [rowsPerChunk, rowsPerChunk, rowsPerChunk, 250])
    assert.deepStrictEqual(rows.flat(), Array.from({ length: 1750 }, (_, at) => at + 1))
  })

  it("come in smaller chunks if they are large, and one that is larger than a chunk comes alone", async () => {
    await using pair = await pairOf()
    const half = await pair.statement({ sql: numbers(7, `zeroblob(${bytesPerChunk / 2})`) })
    assert.deepStrictEqual(ended(half).chunks, [2, 2, 2, 1])
    const large = await pair.statement({ sql: numbers(3, `printf('%.*c', ${2 * bytesPerChunk}, 'x')`) })
    assert.deepStrictEqual(ended(large).chunks, [1, 1, 1])
  })

  it("are not read further than the chunks that may be ahead", async () => {
    for (const isStream of [false, true]) {
      await using pair = await pairOf()
      const reading = reluctant(pair, numbers(20 * rowsPerChunk), isStream)
      await turns()
      assert.strictEqual(reading.taken(), chunksAhead)
      reading.take(2)
      await turns()
      assert.strictEqual(reading.taken(), chunksAhead + 2)
      reading.take(100)
      assert.strictEqual(ended(await reading.outcome).rows.length, 20 * rowsPerChunk)
    }
  })

  it("keep later requests waiting, unless they are streamed", async () => {
    for (const isStream of [false, true]) {
      await using pair = await pairOf()
      const reading = reluctant(pair, numbers(20 * rowsPerChunk), isStream)
      let isAnswered = false
      const other = pair.statement({ sql: "select 1" }).then((outcome) => {
        isAnswered = true
        return outcome
      })
      await turns()
      assert.strictEqual(isAnswered, isStream)
      assert.strictEqual(pair.host.state.isPinning, true)
      reading.take(100)
      assert.deepStrictEqual(ended(await other).rows, [[1]])
      assert.strictEqual(ended(await reading.outcome).rows.length, 20 * rowsPerChunk)
      assert.isFalse(pair.host.state.isPinning)
    }
  })

  it("are followed by the error that ended the statement", async () => {
    await using pair = await pairOf()
    const got: Array<number> = []
    const outcome = collecting(() => got.push(1))
    pair.host.statement({
      operation: "query",
      way: "rows",
      sql: numbers(700, "json(case when i = 650 then '{' else '1' end)"),
      params: undefined,
      bigInts: false,
      isAlone: false,
      isStream: true
    }, outcome.receiver)
    const failed = await outcome.outcome
    assert.strictEqual(failed.tag, "failed")
    assert.strictEqual(got.length, 2)
    assert.isFalse(pair.host.state.isPinning)
  })

  it("have their new columns after the schema has changed, also behind a view", async () => {
    await using pair = await pairOf()
    await pair.control(
      "exec",
      "exec",
      "create table t(a); insert into t values (1); create view v as select * from t",
      0
    )
    const columns = async (sql: string) => ended(await pair.statement({ sql })).columns
    for (let time = 0; time < 2; time++) {
      assert.deepStrictEqual(await columns("select * from t"), ["a"])
      assert.deepStrictEqual(await columns("select * from v"), ["a"])
    }
    await pair.control("exec", "exec", "alter table t rename column a to b; alter table t add column c", 0)
    for (let time = 0; time < 2; time++) {
      assert.deepStrictEqual(await columns("select * from t"), ["b", "c"])
      // SQLite writes the columns of a view into its text when it renames one.
      assert.include([["b"], ["b", "c"]].map(String), String(await columns("select * from v")))
    }
    // The names are sent once as long as they are the same.
    const before = pair.messages.length
    await columns("select * from t")
    assert.isTrue(
      pair.messages.slice(before).flatMap(({ answers }) => answers).every((answer) =>
        answer.kind === "rows" && answer.columns === undefined
      )
    )
  })

  it("have their columns in each message once their text is forgotten, of which nothing is kept", async () => {
    await using pair = await pairOf()
    const reading = reluctant(pair, numbers(20 * rowsPerChunk), true)
    const columnsOf = (from: number) =>
      pair.messages.slice(from).flatMap(({ answers }) => answers).flatMap((answer) =>
        answer.kind === "rows" && answer.id === reading.pending.id ? [answer.columns] : []
      )
    await turns()
    assert.deepStrictEqual(columnsOf(0), [["i"], undefined, undefined])
    for (let n = 0; n < 30; n++) await pair.statement({ sql: `select ${n}` })
    const before = pair.messages.length
    reading.take(2)
    await turns()
    assert.deepStrictEqual(columnsOf(before), [["i"], ["i"]])
    reading.take(100)
    assert.deepStrictEqual(ended(await reading.outcome).columns, ["i"])
  })
})

describe("requests to a thread", () => {
  it("are sent in one message a turn, and answered in few", async () => {
    await using pair = await pairOf()
    const before = pair.messages.length
    const outcomes = await Promise.all(
      Array.from({ length: 100 }, (_, at) => pair.statement({ sql: "select ?", params: [at] }))
    )
    assert.deepStrictEqual(
      outcomes.map((outcome) => ended(outcome).rows[0]),
      Array.from({ length: 100 }, (_, at) => [at])
    )
    assert.isBelow(pair.messages.length - before, 100)
  })

  it("wait in line when too many are out, and can be cancelled there", async () => {
    await using pair = await pairOf()
    const all = Array.from({ length: mostRequests + 50 }, (_, at) => pair.statement({ sql: "select ?", params: [at] }))
    const { outcome, receiver } = collecting(() => {})
    const extra = pair.host.statement(
      {
        operation: "query",
        way: "rows",
        sql: "select 'new'",
        params: [],
        bigInts: false,
        isAlone: false,
        isStream: false
      },
      receiver
    )
    assert.isUndefined(extra.id)
    assert.isTrue(pair.host.cancel(extra))
    assert.deepStrictEqual(await outcome, { tag: "cancelled" })
    for (const [at, one] of (await Promise.all(all)).entries()) assert.deepStrictEqual(ended(one).rows, [[at]])
    // The text of the cancelled request was never sent, and so it is sent now.
    assert.deepStrictEqual(ended(await pair.statement({ sql: "select 'new'", params: [] })).rows, [["new"]])
    assert.strictEqual(pair.host.size, 0)
  })

  it("take the parameters that they were given, whatever becomes of those later", async () => {
    await using pair = await pairOf()
    const bytes = new Uint8Array([1, 2, 3])
    const params = [bytes, "a"]
    const outcome = pair.statement({ sql: "select ?, ?", params })
    bytes.fill(9)
    params[1] = "b"
    assert.deepStrictEqual(ended(await outcome).rows, [[new Uint8Array([1, 2, 3]), "a"]])
  })

  it("refuse SQL that is no text", async () => {
    await using pair = await pairOf()
    for (const sql of [undefined, 1, () => 1, Symbol("s")]) {
      const outcome = await pair.statement({ sql: sql as unknown as string })
      if (outcome.tag !== "failed") assert.fail("it is no SQL")
      assert.propertyVal(outcome.thrown, "message", `query: the SQL is not text but ${typeof sql}`)
    }
  })
})

describe("a request that is cancelled", () => {
  const insert = "insert into t values (1) returning a"

  it("is not begun if it was waiting", async () => {
    await using pair = await pairOf()
    await pair.control("exec", "exec", "create table t(a)", 0)
    const reading = reluctant(pair, numbers(20 * rowsPerChunk), false)
    const { outcome, receiver } = collecting(() => {})
    const queued = pair.host.statement(
      { operation: "run", way: "result", sql: insert, params: [], bigInts: false, isAlone: false, isStream: false },
      receiver
    )
    const script = collecting(() => {})
    const exec = pair.host.control("exec", ["exec", "insert into t values (2)", 0], script.receiver)
    await turns()
    assert.isTrue(pair.host.cancel(queued))
    assert.isTrue(pair.host.cancel(exec))
    reading.take(100)
    assert.deepStrictEqual([await outcome, await script.outcome], [{ tag: "cancelled" }, { tag: "cancelled" }])
    assert.deepStrictEqual(ended(await pair.statement({ sql: "select * from t" })).rows, [])
  })

  it("ends between rows, and lets the next one run", async () => {
    for (const isStream of [false, true]) {
      await using pair = await pairOf()
      const reading = reluctant(pair, numbers(1_000_000), isStream)
      await turns()
      assert.isTrue(pair.host.cancel(reading.pending))
      assert.isTrue(pair.host.cancel(reading.pending))
      assert.deepStrictEqual(await reading.outcome, { tag: "cancelled" })
      assert.isFalse(pair.host.state.isPinning)
      assert.deepStrictEqual(ended(await pair.statement({ sql: "select 1" })).rows, [[1]])
    }
  })

  it("stores nothing if it had not begun to commit, however many rows it has returned", async () => {
    await using pair = await pairOf()
    await pair.control("exec", "exec", "create table t(a)", 0)
    const reading = reluctant(pair, `insert into t ${numbers(20 * rowsPerChunk)} returning a`, false)
    await turns()
    assert.strictEqual(reading.taken(), chunksAhead)
    assert.isTrue(pair.host.cancel(reading.pending))
    assert.deepStrictEqual(await reading.outcome, { tag: "cancelled" })
    assert.deepStrictEqual(ended(await pair.statement({ sql: "select * from t" })).rows, [])
    assert.isFalse(pair.host.state.isTransaction)
  })

  it("was too late if it has committed", async () => {
    await using pair = await pairOf()
    await pair.control("exec", "exec", "create table t(a)", 0)
    const { outcome, receiver } = collecting(() => {})
    const pending = pair.host.statement(
      { operation: "run", way: "result", sql: insert, params: [], bigInts: false, isAlone: false, isStream: false },
      receiver
    )
    while (!pair.words.isCommitting(pending.id!)) await new Promise((resolve) => setImmediate(resolve))
    // The answer has not been handled yet, or this would be the wrong test.
    const inTime = pair.host.cancel(pending)
    assert.isFalse(inTime)
    assert.strictEqual((await outcome).tag, "ended")
    assert.isFalse(pair.host.cancel(pending))
    assert.deepStrictEqual(ended(await pair.statement({ sql: "select * from t" })).rows, [[1]])
  })
})

describe("the end of a thread", () => {
  it("fails what is out, and says which requests may be stored", async () => {
    const pair = await pairOf()
    const death = new Failure("connection", "thread", "the thread has ended", new Error("the thread has ended"))
    const read = pair.statement({ sql: "select 1" })
    const write = pair.statement({ sql: "create table t(a)" })
    const waiting = Array.from({ length: mostRequests }, () => pair.statement({ sql: "select 2" }))
    const cancelled = collecting(() => {})
    const gone = pair.host.statement(
      { operation: "query", way: "rows", sql: "select 3", params: [], bigInts: false, isAlone: false, isStream: false },
      cancelled.receiver
    )
    let isIdle = false
    pair.host.whenIdle(() => isIdle = true)
    const never = pair.host.whenIdle(() => assert.fail("it was taken back"))
    never()
    pair.words.commit(1)
    pair.host.cancel(gone)
    pair.host.died(death)
    pair.host.died(death)
    assert.deepStrictEqual(await read, { tag: "failed", thrown: death, isUnknown: false })
    assert.deepStrictEqual(await write, { tag: "failed", thrown: death, isUnknown: true })
    assert.deepStrictEqual(await waiting.at(-1), { tag: "failed", thrown: death, isUnknown: false })
    assert.deepStrictEqual(await cancelled.outcome, { tag: "cancelled" })
    assert.deepStrictEqual([isIdle, pair.host.size, pair.host.state.isUsable], [true, 0, false])
    // Later requests fail at once, and nothing is sent.
    assert.deepStrictEqual(await pair.statement({ sql: "select 1" }), {
      tag: "failed",
      thrown: death,
      isUnknown: false
    })
    await pair[Symbol.asyncDispose]()
  })
})
