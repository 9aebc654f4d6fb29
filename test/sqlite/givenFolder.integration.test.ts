import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { spawnSync } from "node:child_process"
import fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { folder, given } from "../support/files.ts"

const { failsWith } = PoolAssert

describe("a database that is only read", () => {
  it(
    "is read from a folder that the process may not write to, where readOnly says what to do",
    (context) =>
      Effect.runPromise(Effect.scoped(Effect.gen(function*() {
        const path = yield* folder
        const folders = ["delete", "wal"].map((mode) => {
          const parent = join(path, mode)
          fs.mkdirSync(parent)
          fs.chmodSync(given(join(parent, "test.db"), mode), 0o444)
          fs.chmodSync(parent, 0o555)
          return parent
        })
        fs.chmodSync(path, 0o755)
        const opener = fileURLToPath(new URL("../support/programs/givenFile.ts", import.meta.url))
        const child = spawnSync(process.execPath, [opener, ...folders], {
          encoding: "utf8",
          ...(process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined)
        })
        for (const parent of folders) fs.chmodSync(parent, 0o755)
        if (child.status !== 0) return context.skip(`no unprivileged process can read this: ${child.stderr}`)
        const { wal, ...others } = JSON.parse(child.stdout.split("\n").at(-1)!)
        assert.deepStrictEqual(others, {
          plain: [{ a: 1 }],
          plainImmutable: [{ a: 1 }],
          walImmutable: [{ a: 1 }],
          files: [["test.db"], ["test.db"]]
        })
        assert.include(wal, `"${folders[1]}" is read-only; if nothing changes the file, set immutable`)
      }))),
    120_000
  )

  it(
    "is read from a disk that is read-only, where readOnly says what to do",
    (context) =>
      Effect.runPromise(Effect.scoped(Effect.gen(function*() {
        const path = fs.realpathSync(yield* folder)
        const mount = (...options: ReadonlyArray<string>) =>
          spawnSync("mount", [...options, "tmpfs", path]).status === 0
        if (process.getuid?.() !== 0 || !mount("-t", "tmpfs")) return context.skip("nothing can be mounted here")
        yield* Effect.addFinalizer(() => Effect.sync(() => spawnSync("umount", [path])))
        const filename = given(join(path, "test.db"))
        if (!mount("-o", "remount,ro")) return context.skip("nothing can be mounted again here")
        const pool = yield* SqlitePool.make({ filename, immutable: true })
        assert.deepStrictEqual(yield* pool.sql`select a from t`, [{ a: 1 }])
        const error = yield* failsWith(Effect.scoped(SqlitePool.make({ filename, readOnly: true })), "ConnectError")
        assert.include(error.message, "is read-only; if nothing changes the file, set immutable")
      }))),
    120_000
  )
})
