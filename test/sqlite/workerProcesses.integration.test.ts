import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { folder } from "../support/files.ts"
import { bundle } from "../support/threads.ts"

/** Runs a program, bundled, in a process of its own. Its first argument is a folder. */
const run = (
  name: string,
  [folder, ...args]: readonly [string, ...ReadonlyArray<string>],
  onLine: (line: string) => void = () => {}
) =>
  Effect.promise(async () => {
    const outdir = join(folder, "program")
    await bundle(outdir, { [name]: fileURLToPath(new URL(`../support/programs/${name}.ts`, import.meta.url)) })
    const command = ["--expose-gc", join(outdir, `${name}.mjs`), folder, ...args]
    const child = spawn(process.execPath, command, { stdio: ["ignore", "pipe", "inherit"] })
    const lines: Array<string> = []
    createInterface(child.stdout).on("line", (line) => {
      // Warnings of the pool begin with the time.
      if (/^\s*\[/.test(line)) return
      lines.push(line)
      onLine(line)
    })
    const [code, signal] = await once(child, "close") as [number | null, string | null]
    return { lines, code, signal }
  })

const said = [
  "free, abandoned: 1",
  "served on a worker: 7",
  "free, abandoned: 2",
  "beyond maxAbandoned: AcquireTimeoutError",
  "served in process: 7",
  "closed, left behind: 2"
]

describe("a process with queries on workers that do not end", () => {
  it.live(
    "frees their callers, serves others within maxAbandoned, closes in time, and ends the hard way",
    () =>
      Effect.gen(function*() {
        const { lines, signal } = yield* run("stuckQueries", [yield* folder, "kill"])
        assert.deepStrictEqual(lines, said)
        assert.strictEqual(signal, "SIGKILL")
      }),
    120_000
  )

  it.live("ends by itself when they have ended", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const { code, lines } = yield* run("stuckQueries", [path], (line) => {
        if (line !== "returned") return
        for (const name of ["one", "two"]) writeFileSync(join(path, `${name}.go`), "")
      })
      assert.deepStrictEqual(lines, [...said, "returned"])
      assert.strictEqual(code, 0)
    }), 300_000)
})

interface Held {
  readonly rss: number
  readonly heap: number
  readonly threads: number
  readonly connections: number
}

interface Leaks {
  readonly left: number
  readonly memory: ReadonlyArray<Held>
  readonly outcomes: Readonly<Record<"answered" | "failed" | "interrupted" | "crashed", number>>
  readonly stats: Readonly<Record<"checkouts" | "returns" | "connects" | "total" | "idle", number>> & {
    readonly evictions: Readonly<Record<string, number>>
  }
}

/** A third of what runs. Ten thousand in all are 3334. */
const statements = Number(process.env["WORKER_LEAKS"] ?? 600)

const mebibyte = 2 ** 20

describe("a process whose statements on workers fail, are interrupted and end their threads", () => {
  it.live("keeps no thread and no memory of them, and its numbers are exact", () =>
    Effect.gen(function*() {
      const { code, lines } = yield* run("workerLeaks", [yield* folder, String(statements)])
      assert.strictEqual(code, 0)
      const { left, memory, outcomes, stats } = JSON.parse(lines.at(-1)!) as Leaks
      const { answered, crashed, failed, interrupted } = outcomes
      assert.strictEqual(answered + crashed + failed + interrupted, 3 * statements)
      const all = Array.from({ length: statements }, (_, at) => at)
      assert.strictEqual(crashed, 3 * all.filter((at) => at % 100 === 50).length)
      assert.strictEqual(failed, 3 * all.filter((at) => at % 4 < 2).length)
      assert.isAbove(answered, 0)
      assert.isAbove(interrupted, 0)
      assert.deepStrictEqual(
        [stats.checkouts - stats.returns, stats.evictions["dead"], stats.connects - crashed, stats.idle],
        [0, crashed, stats.total, stats.total]
      )
      assert.isAtMost(left, 0, "threads that are left after the end")
      const [warm, , last] = memory as [Held, Held, Held]
      assert.strictEqual(last.threads - last.connections, warm.threads - warm.connections)
      assert.isBelow(last.heap - warm.heap, 4 * mebibyte, JSON.stringify(memory))
      assert.isBelow(last.rss - warm.rss, 32 * mebibyte, JSON.stringify(memory))
    }), 600_000)
})
