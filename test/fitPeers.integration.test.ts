/** The script that fits packages for a pre-release of Effect, in a checkout made up for it. */
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const script = fileURLToPath(new URL("../scripts/fit-peers.mjs", import.meta.url))
const client = "node_modules/@effect/sql-sqlite-node/dist/SqliteClient.js"

/** Runs the script in a checkout with these files in it; what it says, and what is in a file then. */
const inCheckout = (
  files: Readonly<Record<string, string>>,
  test: (run: () => string, read: (file: string) => string) => void
) => {
  const folder = mkdtempSync(join(tmpdir(), "fit-peers-"))
  try {
    for (const [file, content] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, file)), { recursive: true })
      writeFileSync(join(folder, file), content)
    }
    mkdirSync(join(folder, "scripts"))
    const copy = join(folder, "scripts/fit-peers.mjs")
    copyFileSync(script, copy)
    test(() => {
      const { status, stderr, stdout } = spawnSync(process.execPath, [copy], { encoding: "utf8" })
      assert.strictEqual(status, 0)
      // It is for others: npm's own commands print their results there.
      assert.strictEqual(stdout, "")
      return stderr
    }, (file) => readFileSync(join(folder, file), "utf8"))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const effect = {
  "node_modules/effect/dist/sql/SqlClient.js": "",
  "node_modules/effect/dist/sql/index.js": ""
}

describe("fit-peers", () => {
  it("names the modules of Effect that are there, in code and types, and nothing else", () => {
    const types = client.replace(/js$/, "d.ts")
    const before = "import * as Client from \"effect/unstable/sql/SqlClient\"\n" +
      "import { SqlError } from 'effect/unstable/sql'\n" +
      "import * as Gone from \"effect/unstable/sql/Gone\"\n" +
      "const text = \"see effect/unstable/sql/SqlClient\"\n"
    const after = "import * as Client from \"effect/sql/SqlClient\"\n" +
      "import { SqlError } from 'effect/sql'\n" +
      "import * as Gone from \"effect/unstable/sql/Gone\"\n" +
      "const text = \"see effect/unstable/sql/SqlClient\"\n"
    inCheckout({ ...effect, [client]: before, [types]: before, [`${client}.map`]: before }, (run, read) => {
      assert.include(run(), "4 imports of effect/unstable")
      assert.strictEqual(read(client), after)
      assert.strictEqual(read(types), after)
      assert.strictEqual(read(`${client}.map`), before)
      assert.include(run(), "nothing changed")
      assert.strictEqual(read(client), after)
    })
  })

  it("changes nothing where Effect has what the package imports", () => {
    const content = "import * as Client from \"effect/unstable/sql/SqlClient\"\n"
    const older = { "node_modules/effect/dist/unstable/sql/SqlClient.js": "" }
    inCheckout({ ...effect, ...older, [client]: content }, (run, read) => {
      assert.include(run(), "nothing changed")
      assert.strictEqual(read(client), content)
    })
  })

  it("says that there is nothing to fit where the package is not installed", () => {
    inCheckout(effect, (run) => assert.include(run(), "is not installed"))
  })
})
