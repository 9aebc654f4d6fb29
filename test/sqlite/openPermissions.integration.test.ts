import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { spawnSync } from "node:child_process"
import fs from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { fileURLToPath } from "node:url"
import { folder } from "../support/files.ts"

const opener = fileURLToPath(new URL("../support/programs/unprivilegedConnection.ts", import.meta.url))

/** A process that has ended in the middle, and has left a log with a table in it. */
const leaveLog = (path: string) => {
  const inUse = join(path, "in-use.db")
  const database = new DatabaseSync(inUse)
  database.exec("pragma journal_mode = wal; create table t(a)")
  for (const suffix of ["", "-wal"]) fs.copyFileSync(inUse + suffix, join(path, `test.db${suffix}`))
  database.close()
  fs.writeFileSync(join(path, "test.db-shm"), "")
  for (const suffix of ["", "-wal", "-shm"]) fs.chmodSync(join(path, `test.db${suffix}`), 0o666)
}

/** What a process without rights is told of folders that were prepared so: to write, and to read. */
const told = (prepare: { readonly [name: string]: (path: string) => void }) =>
  Effect.gen(function*() {
    const path = yield* folder
    fs.chmodSync(path, 0o755)
    const paths = Object.entries(prepare).map(([name, make]) => {
      const inside = join(path, name)
      fs.mkdirSync(inside)
      fs.chmodSync(inside, 0o777)
      make(inside)
      return inside
    })
    const child = spawnSync(process.execPath, [opener, path, path, path, ...paths], {
      encoding: "utf8",
      ...(process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined)
    })
    for (const inside of paths) fs.chmodSync(inside, 0o755)
    return child.status === 0
      ? JSON.parse(child.stdout.replaceAll(path, "<folder>")) as { readonly [name: string]: ReadonlyArray<string> }
      : child.stderr
  })

const belongs = (verb: string, file: string) =>
  `this process may not ${verb} "<folder>/${file}", which is part of the database; mostly, another user has opened it ` +
  "before: give that file to the user of this process"

const cannotOpen = (name: string) => `cannot open the SQLite database "<folder>/${name}/test.db": `

describe("a process that may not", () => {
  it.live(
    "use a file that another user has left beside the database is told which, when it opens it",
    (context) =>
      Effect.gen(function*() {
        const answers = yield* told({
          free: leaveLog,
          log: (path) => {
            leaveLog(path)
            fs.chmodSync(join(path, "test.db-wal"), 0o444)
          },
          memory: (path) => {
            leaveLog(path)
            fs.chmodSync(join(path, "test.db-shm"), 0o444)
          },
          secret: (path) => {
            leaveLog(path)
            fs.chmodSync(join(path, "test.db-wal"), 0)
          },
          journal: (path) => {
            const database = new DatabaseSync(join(path, "test.db"))
            database.exec("create table t(a)")
            database.close()
            fs.chmodSync(join(path, "test.db"), 0o666)
            fs.writeFileSync(join(path, "test.db-journal"), "x".repeat(600))
            fs.chmodSync(join(path, "test.db-journal"), 0o444)
          }
        })
        if (typeof answers === "string") return context.skip(`no unprivileged process can read this: ${answers}`)
        const said = " (unable to open database file, code 14)"
        const interrupted = "a write to it was interrupted, and has to be rolled back: open it for writing once, and " +
          "close it (attempt to write a readonly database, code 776)"
        assert.deepStrictEqual(answers, {
          free: ["open", "open"],
          log: [cannotOpen("log") + belongs("write", "log/test.db-wal"), "open"],
          memory: [cannotOpen("memory") + belongs("write", "memory/test.db-shm"), "open"],
          secret: [
            cannotOpen("secret") + belongs("write", "secret/test.db-wal") + said,
            cannotOpen("secret") + belongs("read", "secret/test.db-wal") + said
          ],
          journal: [
            cannotOpen("journal") + belongs("write", "journal/test.db-journal") + said,
            cannotOpen("journal") + interrupted
          ]
        })
      }),
    120_000
  )

  it.live("enter a folder is not told that there is no file", (context) =>
    Effect.gen(function*() {
      const answers = yield* told({
        closed: (path) => {
          new DatabaseSync(join(path, "test.db")).close()
          fs.chmodSync(path, 0o666)
        }
      })
      if (typeof answers === "string") return context.skip(`no unprivileged process can read this: ${answers}`)
      const why = `this process may not enter the folder "<folder>/closed" (unable to open database file, code 14)`
      assert.deepStrictEqual(answers, { closed: [cannotOpen("closed") + why, cannotOpen("closed") + why] })
    }), 120_000)
})

describe("a database by a relative path", () => {
  it.effect("cannot be opened by a process whose folder is gone, which is a typed error", () =>
    Effect.gen(function*() {
      const here = process.cwd()
      const gone = yield* folder
      const path = fs.mkdtempSync(join(gone, "gone-"))
      yield* Effect.acquireRelease(
        Effect.sync(() => process.chdir(path)),
        () => Effect.sync(() => process.chdir(here))
      )
      fs.rmdirSync(path)
      const message = yield* Effect.as(SqliteConnection.open({ filename: "app.db" }), "open").pipe(
        Effect.catchTag("SqlError", (error) => Effect.succeed(error.message))
      )
      assert.include(
        message,
        "cannot open the SQLite database \"app.db\": the current folder of this process does not exist any more (unab"
      )
    }))
})

describe("a database on a full disk", () => {
  it.live("cannot be made, and says that the disk is full", (context) =>
    Effect.gen(function*() {
      const path = yield* folder
      if (
        process.getuid?.() !== 0 || spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", path]).status !== 0
      ) {
        return context.skip("nothing can be mounted here")
      }
      yield* Effect.addFinalizer(() => Effect.sync(() => spawnSync("umount", [path])))
      try {
        fs.writeFileSync(join(path, "other"), Buffer.alloc(100_000))
      } catch {
        // It is full now.
      }
      const error = yield* Effect.flip(SqliteConnection.open({ filename: join(path, "test.db") }))
      assert.include(error.message, "test.db\": the disk is full (database or disk is full, code 13)")
    }), 120_000)
})
