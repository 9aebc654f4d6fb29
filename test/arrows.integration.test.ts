import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { appendFileSync, cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const script = join(import.meta.dirname, "../scripts/check-arrows.ts")

/** Checks a copy of the sources with a line added to one file. Returns what the check says. */
const checked = (file: string, line: string): string => {
  const folder = mkdtempSync(join(tmpdir(), "effect-connection-pool-arrows-"))
  try {
    cpSync(join(import.meta.dirname, "../src"), folder, { recursive: true })
    appendFileSync(join(folder, file), `\n${line}\n`)
    const { status, stderr, stdout } = spawnSync(process.execPath, [script, folder], { encoding: "utf8" })
    assert.strictEqual(status, stderr === "" ? 0 : 1)
    return stderr === "" ? stdout : stderr
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const failures = "sqlite/internal/failures.ts"

describe("the check of who imports whom", () => {
  for (
    const line of [
      "import { Effect } from \"effect\"",
      "import { type Fiber, Effect } from \"effect\"",
      "import * as SqlError from \"effect/sql/SqlError\"",
      "export { Effect } from \"effect\"",
      "import \"effect\"",
      "export const later = () => import(\"effect\")"
    ]
  ) {
    it(`lets no code that a thread loads ${line}`, () => {
      const name = /"([^"]+)"$|"([^"]+)"\)$/.exec(line)!.slice(1).find((found) => found !== undefined)
      assert.strictEqual(
        checked(failures, line),
        `${failures} imports ${name}, but threads load it: only node: is allowed\n`
      )
    })
  }

  it("finds such an import behind others", () => {
    const file = "internal/options/show.ts"
    assert.include(checked(file, "import { Effect } from \"effect\""), `${file} imports effect, but threads load it`)
  })

  it("lets code that a thread loads import types, and Node's own modules", () => {
    const lines = "import type { Effect } from \"effect\"\nimport { type Fiber } from \"effect\"\nimport \"node:fs\""
    assert.match(checked(failures, lines), /point down, and in no circle/)
  })
})
