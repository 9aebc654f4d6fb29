import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"

const source = pathToFileURL(join(import.meta.dirname, "../../src/sqlite/internal")).href
const effect = import.meta.resolve("effect")

/** A program with an open connection in a thread, in `connection`. Node runs the sources as they are. */
const program = (body: string): string =>
  `import { Effect, Result } from "${effect}"
import { resolve } from "${source}/options/connection.ts"
import { open } from "${source}/worker/factory.ts"
const opened = open(Result.getOrThrow(resolve({ filename: "test.db" })), true)
${body}`

const query = `const rows = await Effect.runPromise(Effect.scoped(Effect.flatMap(opened, (connection) =>
  connection.values("select 1 + 1"))))
console.log(JSON.stringify(rows))`

const run = (body: string, args: ReadonlyArray<string> = [], env: Record<string, string> = {}) => {
  const folder = mkdtempSync(join(tmpdir(), "effect-connection-pool-thread-"))
  try {
    writeFileSync(join(folder, "main.mjs"), program(body))
    writeFileSync(
      join(folder, "preload.mjs"),
      "import { isMainThread } from \"node:worker_threads\"\nconsole.log(\"preloaded in the main thread:\", isMainThread)"
    )
    const started = performance.now()
    const { status, stderr, stdout } = spawnSync(process.execPath, [...args, "main.mjs"], {
      cwd: folder,
      encoding: "utf8",
      env: { ...process.env, ...env },
      timeout: 60_000
    })
    return { status, stderr, stdout, millis: performance.now() - started }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe("the script of a thread", () => {
  it("runs from the sources, and no preload of the application runs there", () => {
    const preloaded = "preloaded in the main thread: true\n"
    assert.strictEqual(run(query, ["--import", "./preload.mjs"]).stdout, `${preloaded}[[2]]\n`)
    assert.strictEqual(run(query, [], { NODE_OPTIONS: "--import ./preload.mjs" }).stdout, `${preloaded}[[2]]\n`)
  })

  it("needs --allow-worker where Node restricts the process, and says so", () => {
    const files = ["--permission", "--allow-fs-read=*", "--allow-fs-write=*"]
    assert.strictEqual(run(query, [...files, "--allow-worker"]).stdout, "[[2]]\n")
    const refused = run(
      `const error = await Effect.runPromise(Effect.flip(Effect.scoped(opened)))
console.log(error._tag, error.message)`,
      files
    )
    assert.match(refused.stdout, /^SqlError cannot open the SQLite database ".*test\.db" \(.*--allow-worker/)
  })

  it("keeps the process alive while a request is out, and no longer", () => {
    const idle = run(
      `const connection = await Effect.runPromise(Effect.provideService(opened, Scope.Scope, Scope.makeUnsafe()))
await Effect.runPromise(connection.values("select 1"))
connection.values("with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) select count(*) from n")
  .pipe(Effect.runPromise).then((rows) => console.log("answered", rows[0][0]))
process.on("exit", () => console.log("exit"))`.replace(
        "const connection",
        `import { Scope } from "${effect}"\nconst connection`
      )
    )
    assert.deepStrictEqual([idle.status, idle.stdout], [0, "answered 200000\nexit\n"], idle.stderr)
  })
})
