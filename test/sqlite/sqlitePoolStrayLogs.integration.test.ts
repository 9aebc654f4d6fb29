import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { copyFileSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { file, judge } from "../support/files.ts"
import { count, insert, make, other, rowsIn, setup } from "../support/watchedFiles.ts"

/** A log that was left by a process that was killed, and the file it belongs to. */
const crashed = Effect.fnUntraced(function*(filename: string, pageSize = 4096) {
  const running = yield* file
  const database = yield* judge(running, `pragma page_size = ${pageSize}; pragma journal_mode = wal; ${setup}`)
  for (let at = 0; at < 50; at++) database.exec("insert into t values (randomblob(1000))")
  for (const end of ["", "-wal"]) copyFileSync(running + end, filename + end)
  return 51
})

/** A log whose header begins with this number, and has the checksums that belong to it. */
const signed = (log: Buffer, magic: number): Buffer => {
  log.writeUInt32BE(magic, 0)
  const read = (at: number) => magic % 2 === 0 ? log.readUInt32LE(at) : log.readUInt32BE(at)
  let [first, second] = [0, 0]
  for (let at = 0; at < 24; at += 8) {
    first = (first + read(at) + second) >>> 0
    second = (second + read(at + 4) + first) >>> 0
  }
  log.writeUInt32BE(first, 24)
  log.writeUInt32BE(second, 28)
  return log
}

/** A log whose header would be right if a zero followed: only its length says that it is not whole. */
const endingTooSoon = (log: Buffer): Buffer => {
  const magic = log.readUInt32BE(0)
  // Each salt gives another last byte.
  for (let salt = 0; salt < 256 && signed(log, magic)[31] !== 0; salt++) log.fill(salt, 20, 24)
  assert.strictEqual(signed(log, magic)[31], 0)
  return log.subarray(0, 31)
}

describe("a file that is opened and", () => {
  it.effect("has the log beside it that a killed process has left has all of that", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const rows = yield* crashed(filename)
      const pool = yield* make(filename)
      assert.strictEqual(yield* pool.read(count), rows)
    }))

  it.effect("has a log beside it whose pages have another size is refused, and stays as it is", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* crashed(filename, 8192)
      copyFileSync(yield* other(filename, 7), filename)
      for (const wrong of [Effect.scoped(make(filename)), Effect.scoped(SqlitePool.make({ filename, readers: 1 }))]) {
        const error = yield* PoolAssert.failsWith(Effect.asVoid(wrong), "ConnectError")
        assert.include(error.message, `"${filename}-wal" is the log of another file, and would destroy this one`)
        assert.include(error.message, "it has pages of 8192 bytes, the file of 4096")
        assert.include(error.message, `Delete "${filename}-wal" and "${filename}-shm"`)
      }
      rmSync(`${filename}-wal`)
      const pool = yield* make(filename)
      assert.strictEqual(yield* pool.read(count), 7)
    }))

  const damages: ReadonlyArray<readonly [what: string, damage: (log: Buffer) => Buffer]> = [
    ["ends inside its header", endingTooSoon],
    ["does not begin as a log", (log) => signed(log, 0x377f0684)],
    ["fails its first checksum", (log) => Buffer.concat([log.subarray(0, 24), Buffer.alloc(4), log.subarray(28)])],
    ["fails its second checksum", (log) => Buffer.concat([log.subarray(0, 28), Buffer.alloc(4), log.subarray(32)])]
  ]
  for (const [what, damage] of damages) {
    it.effect(`has a log beside it that ${what} is opened without it, as SQLite ignores that log`, () =>
      Effect.gen(function*() {
        const filename = yield* file
        yield* crashed(filename, 8192)
        copyFileSync(yield* other(filename, 7), filename)
        writeFileSync(`${filename}-wal`, damage(readFileSync(`${filename}-wal`)))
        const pool = yield* make(filename)
        assert.strictEqual(yield* pool.read(count), 7)
      }))
  }

  it.effect("has a log beside it from a machine of the other byte order is refused as well", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* crashed(filename, 8192)
      copyFileSync(yield* other(filename, 7), filename)
      const log = readFileSync(`${filename}-wal`)
      writeFileSync(`${filename}-wal`, signed(log, log.readUInt32BE(0) === 0x377f0682 ? 0x377f0683 : 0x377f0682))
      const error = yield* PoolAssert.failsWith(Effect.scoped(make(filename)), "ConnectError")
      assert.include(error.message, "it has pages of 8192 bytes, the file of 4096")
    }))

  it.effect("has another log beside it is destroyed by that: which log it is cannot be seen", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const rows = yield* crashed(filename)
      copyFileSync(yield* other(filename, 7), filename)
      const pool = yield* make(filename)
      assert.strictEqual(yield* pool.read(count), rows)
    }))

  for (const what of ["is missing", "is empty"]) {
    it.effect(`${what} beside a log is refused, and the log stays`, () =>
      Effect.gen(function*() {
        const filename = yield* file
        yield* crashed(filename)
        if (what === "is missing") rmSync(filename)
        else truncateSync(filename)
        const error = yield* PoolAssert.failsWith(Effect.scoped(make(filename)), "ConnectError")
        assert.include(error.message, `there is no database, but the log of one, "${filename}-wal"`)
        assert.isAbove(statSync(`${filename}-wal`).size, 0)
        rmSync(`${filename}-wal`)
        const pool = yield* make(filename)
        assert.strictEqual(yield* pool.read(count), 0)
      }))
  }

  it.effect("has lost its log has lost what was in it, and its -shm nothing", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const rows = yield* crashed(filename)
      writeFileSync(`${filename}-shm`, "junk")
      assert.strictEqual(yield* Effect.scoped(Effect.flatMap(make(filename), (pool) => pool.read(count))), rows)
      const late = yield* file
      yield* crashed(late)
      rmSync(`${late}-wal`)
      assert.strictEqual(yield* Effect.flatMap(make(late), (pool) => pool.read(count)), 0)
    }))

  it.effect("is a link to nothing is made where the link leads", () =>
    Effect.gen(function*() {
      const filename = yield* file
      symlinkSync("real.db", filename)
      const pool = yield* make(filename)
      yield* pool.write(insert)
      assert.isAbove((yield* pool.stats).walBytes, 0)
      yield* pool.shutdown()
      assert.strictEqual(rowsIn(join(dirname(filename), "real.db")), 1)
    }))
})
