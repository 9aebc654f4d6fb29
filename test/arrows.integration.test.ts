import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { appendFileSync, cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const script = join(import.meta.dirname, "../scripts/check-arrows.ts")

/** Checks a copy of the sources with a line added to each of these files. Returns what the check says. */
const checked = (lines: ReadonlyArray<readonly [file: string, line: string]>) => {
  const folder = mkdtempSync(join(tmpdir(), "effect-connection-pool-arrows-"))
  try {
    cpSync(join(import.meta.dirname, "../src"), folder, { recursive: true })
    for (const [file, line] of lines) appendFileSync(join(folder, file), `\n${line}\n`)
    const { status, stderr, stdout } = spawnSync(process.execPath, [script, folder], { encoding: "utf8" })
    return { status, stdout, problems: stderr.split("\n").filter((line) => line !== "").toSorted() }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const connection = "sqlite/internal/connection"

describe("the check of who imports whom", () => {
  it("lets no code that a thread loads import a package, in whatever form and behind however many files", () => {
    const lines = [
      ["internal/marks.ts", "import { Effect } from \"effect\""],
      ["internal/options/show.ts", "import { type Fiber, Effect } from \"effect\""],
      ["sqlite/internal/failures.ts", "import * as SqlError from \"effect/sql/SqlError\""],
      [`${connection}/binding.ts`, "export { Effect } from \"effect\""],
      [`${connection}/cursor.ts`, "import \"effect\""],
      [`${connection}/handle.ts`, "export const later = () => import(\"other\")"]
    ] as const
    const { problems, status } = checked(lines)
    assert.strictEqual(status, 1)
    assert.deepStrictEqual(
      problems,
      lines.map(([file, line]) =>
        `${file} imports ${/"([^"]+)"\)?$/.exec(line)![1]}, but threads load it: only node: is allowed`
      ).toSorted()
    )
  })

  it("lets code that a thread loads import types, and Node's own modules, and other code import packages", () => {
    const { problems, status, stdout } = checked([
      ["sqlite/internal/failures.ts", "import type { Effect } from \"effect\""],
      ["internal/marks.ts", "import { type Fiber } from \"effect\""],
      [`${connection}/binding.ts`, "import \"node:fs\""],
      ["sqlite/internal/errors.ts", "import { Effect } from \"effect\""]
    ])
    assert.deepStrictEqual([problems, status], [[], 0])
    assert.match(stdout, /point down, and in no circle/)
  })
})
