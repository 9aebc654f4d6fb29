import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { build } from "esbuild"
import { execFileSync } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { folder } from "../support/files.ts"

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))

const program = path("../support/programs/bundled.ts")
const threadMain = path("../../src/sqlite/internal/worker/threadMain.ts")

/** What a bundle of these entries prints when it runs, alone in a folder. */
const printed = Effect.fnUntraced(function*(entryPoints: Record<string, string>, format: "esm" | "cjs" = "esm") {
  const extension = format === "esm" ? ".mjs" : ".cjs"
  const outdir = yield* folder
  yield* Effect.promise(() =>
    build({
      entryPoints,
      outdir,
      bundle: true,
      platform: "node",
      format,
      outExtension: { ".js": extension },
      logLevel: "silent"
    })
  )
  const arguments_ = [join(outdir, `program${extension}`), join(outdir, "app.db")]
  // The pool logs what goes wrong before that.
  return JSON.parse(
    execFileSync(process.execPath, arguments_, { encoding: "utf8" }).trim().split("\n").at(-1)!
  ) as unknown
})

describe("a bundle of esbuild", () => {
  it.live("reads on workers, if the script of the thread is an entry of its own", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* printed({ program, threadMain }), [[7]])
    }), 120_000)

  it.live("without that entry fails with the name of the file that is missing", () =>
    Effect.gen(function*() {
      const message = yield* printed({ program })
      assert.match(String(message), /^pool "sqlite\/workers": could not connect: .*threadMain\./)
    }), 120_000)

  it.live("for CommonJS fails with what to do, and only where a worker is wanted", () =>
    Effect.gen(function*() {
      const message = yield* printed({ program, threadMain }, "cjs")
      assert.match(String(message), /in a thread: the script of threads is not found, .*bundle for ESM/)
    }), 120_000)
})
