import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Stream } from "effect"
import type { SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { execFileSync } from "node:child_process"
import fs, {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { basename, dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { make, nothingLeft, read, rows, unhandled } from "../support/backups.ts"
import { file, folder, judge } from "../support/files.ts"

const partialsIn = (path: string) => readdirSync(path).filter((name) => name.includes(".partial"))

const unprintable = () => {
  throw new Error("no text")
}

describe("a target of a backup", () => {
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const names: ReadonlyArray<readonly [name: unknown, text: string]> = [
    ["", "has no name"],
    ["  ", "has no name"],
    ["a\0b", "character of code 0"],
    [":memory:", "has to be a file"],
    [5, "has to be text"],
    [undefined, "has to be text"],
    [null, "has to be text"],
    [Symbol("a.db"), "has to be text"],
    [["a.db"], "has to be text"],
    [new URL("file:///tmp/a.db"), "has to be text"],
    [Object.create(null), "has to be text"],
    [{ toString: () => unprintable() }, "has to be text"],
    [{ [Symbol.toPrimitive]: () => unprintable() }, "has to be text"],
    [revoked.proxy, "has to be text"]
  ]
  for (const [at, [name, text]] of names.entries()) {
    it.effect(`that is no name of a file is refused: number ${at}, it ${text}`, () =>
      Effect.gen(function*() {
        const { pool } = yield* make()
        const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.backup(name as string)), "BackupError")
        assert.include(error.message, text)
      }))
  }

  it.effect("that is the database, or belongs to it, is refused by whichever name", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const home = dirname(filename)
      linkSync(filename, join(home, "hard.db"))
      symlinkSync("test.db", join(home, "link.db"))
      symlinkSync(`${filename}-wal`, join(home, "log"))
      symlinkSync(home, join(home, "around"))
      const before = readdirSync(home).toSorted()
      const cases: ReadonlyArray<readonly [name: string, text: string]> = [
        ["test.db", "that is the database itself"],
        ["./around/test.db", "that is the database itself"],
        ["hard.db", "that is the database itself"],
        ["link.db", "that is the database itself"],
        ["test.db-wal", `that is the "-wal" of the database itself`],
        ["log", `that is the "-wal" of the database itself`],
        ["test.db-shm", `that is the "-shm" of the database itself`],
        ["around/test.db-journal", `that is the "-journal" of the database itself`]
      ]
      for (const [name, text] of cases) {
        const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.backup(join(home, name))), "BackupError")
        assert.include(error.message, text, name)
      }
      assert.deepStrictEqual(readdirSync(home).toSorted(), before)
      yield* nothingLeft(pool)
      assert.strictEqual(yield* pool.sql`select count(*) as n from t`.pipe(Effect.map(([row]) => row!["n"])), rows)
    }))

  it.effect("that is the path of the database is refused also while nothing is there, however the database was named", () =>
    Effect.gen(function*() {
      const home = yield* folder
      mkdirSync(join(home, "data"))
      symlinkSync("data", join(home, "around"))
      const path = (name: string) => join(home, "data", name)
      const names = [path("one.db"), relative(process.cwd(), path("two.db")), join(home, "around", "three.db")]
      for (const filename of names) {
        const { pool } = yield* make({ filename })
        yield* pool.read((reader) => reader.values("select 1"))
        const own = path(basename(filename))
        renameSync(own, `${own}.moved`)
        for (const [target, text] of [[own, "that is the database"], [`${own}-journal`, `that is the "-journal"`]]) {
          const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.backup(target!)), "BackupError")
          assert.include(error.message, text!)
          assert.isFalse(existsSync(target!))
        }
      }
    }))

  it.effect("that is a link is the file that the link leads to; one that leads nowhere is refused", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const home = yield* folder
      mkdirSync(join(home, "data"))
      writeFileSync(join(home, "data", "real.db"), "an older one")
      symlinkSync(join("data", "real.db"), join(home, "link.db"))
      symlinkSync("nowhere.db", join(home, "dangling.db"))
      yield* Stream.runDrain(pool.backup(join(home, "link.db")))
      assert.strictEqual(read(join(home, "data", "real.db")), rows)
      const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.backup(join(home, "dangling.db"))), "BackupError")
      assert.include(error.message, `it is a link to "nowhere.db", which does not exist: name the file itself`)
      assert.deepStrictEqual(readdirSync(home).toSorted(), ["dangling.db", "data", "link.db"])
      assert.deepStrictEqual(readdirSync(join(home, "data")), ["real.db"])
    }))

  it.effect("in use by others, as far as that can be seen, is refused: also behind a link, also if only a file beside it says so", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const home = yield* folder
      yield* judge(join(home, "used.db"), "pragma journal_mode = wal; create table t(a)")
      symlinkSync("used.db", join(home, "link.db"))
      for (const companion of ["-wal", "-shm", "-journal"]) {
        writeFileSync(join(home, `beside${companion}.db${companion}`), "x")
      }
      const cases: ReadonlyArray<readonly [name: string, text: string]> = [
        ["used.db", "a database is in use at that path: it has a log beside it"],
        ["link.db", "a database is in use at that path: it has a log beside it"],
        ["used.db-wal", `it belongs to the database "${join(home, "used.db")}"`],
        ["used.db-journal", `it belongs to the database "${join(home, "used.db")}"`],
        ["beside-wal.db", `delete "${join(home, "beside-wal.db-wal")}"`],
        ["beside-shm.db", `it has a "-shm" beside it`],
        ["beside-journal.db", `it has a "-journal" beside it`]
      ]
      const before = readdirSync(home)
      for (const [name, text] of cases) {
        const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.backup(join(home, name))), "BackupError")
        assert.include(error.message, text, name)
      }
      assert.deepStrictEqual(readdirSync(home), before)
    }))

  it.effect("that another has opened while the copy was made is left alone", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const target = yield* file
      let isOpened = false
      const error = yield* PoolAssert.failsWith(
        Stream.runForEach(pool.backup(target, { pagesPerStep: 100 }), () => {
          if (isOpened) return Effect.void
          isOpened = true
          return judge(target, "pragma journal_mode = wal; create table mine(a)")
        }),
        "BackupError"
      )
      assert.include(error.message, "a database is in use at that path")
      assert.deepStrictEqual(partialsIn(dirname(target)), [])
      const other = yield* judge(target)
      assert.strictEqual(other.prepare("select name from sqlite_schema").get()!["name"], "mine")
    }))

  it.effect("that is no place for a file says why", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const home = yield* folder
      writeFileSync(join(home, "file"), "")
      mkdirSync(join(home, "folder"))
      symlinkSync("loop", join(home, "loop"))
      execFileSync("mkfifo", [join(home, "pipe")])
      const cases: ReadonlyArray<readonly [name: string, text: string]> = [
        ["missing/a.db", `the folder "${join(home, "missing")}" does not exist`],
        ["file/a.db", `the folder "${join(home, "file")}" is not a folder`.slice(11)],
        ["folder", "it is a folder"],
        ["pipe", "it is not a file"],
        ["loop", "ELOOP"],
        ["x".repeat(300), "ENAMETOOLONG"],
        ["x".repeat(240), "unable to open database file"]
      ]
      const before = readdirSync(home)
      for (const [name, text] of cases) {
        const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.backup(join(home, name))), "BackupError")
        assert.include(error.message, text, name)
      }
      assert.deepStrictEqual(readdirSync(home), before)
      yield* nothingLeft(pool)
    }))

  it.effect(
    "on a disk that is full, or in a folder that may not be written, is a typed error, and leaves nothing",
    (context) =>
      Effect.gen(function*() {
        const path = yield* folder
        chmodSync(path, 0o755)
        const script = fileURLToPath(new URL("../support/programs/backupRefused.ts", import.meta.url))
        const run = (command: string, args: ReadonlyArray<string>) =>
          Effect.result(
            Effect.try(() => execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }))
          )
        mkdirSync(join(path, "small"))
        const full = yield* run("unshare", [
          "-m",
          "sh",
          "-c",
          `mount -t tmpfs -o size=100k tmpfs '${join(path, "small")}' && exec '${process.execPath}' '${script}' '${
            join(path, "small")
          }'`
        ])
        if (full._tag === "Failure") return context.skip("this process may not make a small disk")
        const [message, left] = JSON.parse(full.success.trim().split("\n").at(-1)!) as [string, ReadonlyArray<string>]
        assert.include(message, "database or disk is full")
        assert.deepStrictEqual(left, [])
        mkdirSync(join(path, "shut"))
        chmodSync(join(path, "shut"), 0o555)
        const shut = yield* Effect.try(() =>
          execFileSync(process.execPath, [script, join(path, "shut")], { encoding: "utf8", uid: 65_534, gid: 65_534 })
        )
        const [why] = JSON.parse(shut.trim().split("\n").at(-1)!) as [string]
        assert.include(why, `this process may not write to the folder "${join(path, "shut")}"`)
      }),
    120_000
  )

  it.effect("in a folder that may not be written is refused before anything is copied", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const home = yield* folder
      // The one that runs the tests may be allowed everything.
      const real = fs.accessSync
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          fs.accessSync = (path, mode) => {
            if (path === home && mode === (fs.constants.W_OK | fs.constants.X_OK)) throw new Error("EACCES")
            real(path, mode)
          }
          syncBuiltinESMExports()
        }),
        () =>
          Effect.sync(() => {
            fs.accessSync = real
            syncBuiltinESMExports()
          })
      )
      const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.backup(join(home, "a.db"))), "BackupError")
      assert.include(error.message, `this process may not write to the folder "${home}"`)
      assert.deepStrictEqual(readdirSync(home), [])
    }))

  it.effect("of two backups at once is whole, and of one of them", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const target = yield* file
      yield* Effect.all([
        Stream.runDrain(pool.backup(target, { pagesPerStep: 10 })),
        Stream.runDrain(pool.backup(target, { pagesPerStep: 7 }))
      ], { concurrency: 2 })
      assert.strictEqual(read(target), rows)
      assert.deepStrictEqual(readdirSync(dirname(target)), [basename(target)])
      yield* nothingLeft(pool)
    }))
})

describe("options of a backup that are invalid", () => {
  const cases: ReadonlyArray<readonly [options: unknown, text: string]> = [
    [{ pagesPerStep: 0 }, "pagesPerStep is 0, "],
    [{ pagesPerStep: -1 }, "pagesPerStep is -1, "],
    [{ pagesPerStep: 1.5 }, "pagesPerStep is 1.5, "],
    [{ pagesPerStep: Number.NaN }, "pagesPerStep is NaN, "],
    [{ pagesPerStep: Infinity }, "pagesPerStep is Infinity, "],
    [{ pagesPerStep: "x" }, "pagesPerStep is \"x\", "],
    [{ pagesPerStep: null }, "pagesPerStep is null, "],
    [{ pagePerStep: 5 }, "pagePerStep is no option; did you mean pagesPerStep?"],
    [null, "options is null, but must be an object"],
    [5, "options is 5, but must be an object"]
  ]
  for (const [options, text] of cases) {
    it.effect(`fail the stream with a typed error, without a connection: ${text}`, () =>
      Effect.gen(function*() {
        const { told } = yield* unhandled
        const { filename, pool } = yield* make({ readers: 1 })
        const target = `${filename}.copy`
        const backup = pool.backup(target, options as SqlitePool.BackupOptions)
        const error = yield* PoolAssert.failsWith(Stream.runDrain(backup), "PoolConfigError")
        assert.include(error.message, `pool "sqlite": ${text}`)
        assert.strictEqual((yield* pool.stats).readers.connects, 0)
        // It would be told in a later turn of the event loop.
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        assert.deepStrictEqual(told, [])
      }))
  }

  it.effect("are told from large ones: all pages in one step", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      yield* Stream.runDrain(pool.backup(`${filename}.copy`, { pagesPerStep: Number.MAX_SAFE_INTEGER }))
      assert.strictEqual(read(`${filename}.copy`), rows)
    }))
})

describe("incomplete copies", () => {
  const uuid = "01234567-89ab-cdef-0123-456789abcdef"

  it.effect("and were left by a process that was killed are removed by the next backup to that target, and only those", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const target = yield* file
      const home = dirname(target)
      const [left, empty, theirs, used] = [
        `${target}.${uuid}.partial`,
        `${target}.${uuid.replace("0", "1")}.partial`,
        `${target}.other.${uuid}.partial`,
        `${target}.${uuid.replace("0", "2")}.partial`
      ]
      writeFileSync(left, "half of a copy")
      writeFileSync(`${left}-journal`, "")
      for (const path of [empty, theirs]) writeFileSync(path, "")
      // Who copies has it locked, in another process too.
      const busy = yield* judge(used, "begin exclusive; create table t(a)")
      yield* Stream.runDrain(pool.backup(target))
      assert.deepStrictEqual(
        partialsIn(home).toSorted(),
        [basename(used), `${basename(used)}-journal`, basename(theirs)].toSorted()
      )
      busy.exec("rollback")
      yield* Stream.runDrain(pool.backup(target))
      assert.deepStrictEqual(partialsIn(home), [basename(theirs)])
      assert.strictEqual(read(target), rows)
    }))

  it.effect("and cannot be removed are named in a warning, and hinder nothing", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const target = yield* file
      const left = `${target}.${uuid}.partial`
      mkdirSync(left)
      const lines: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => {
        lines.push(String(message))
      })
      yield* Effect.provide(Stream.runDrain(pool.backup(target)), Logger.layer([logger]))
      assert.strictEqual(read(target), rows)
      assert.strictEqual(lines.length, 1)
      assert.include(lines[0], left)
    }))
})
