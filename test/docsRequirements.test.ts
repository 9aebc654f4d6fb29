import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))

/** The packages that a program needs besides Effect and this one. */
const packagesOf = (code: string): ReadonlyArray<string> =>
  Array.from(code.matchAll(/from "([^"]+)"/g), ([, specifier]) => specifier!)
    .map((specifier) => specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1).join("/"))
    .filter((name) => name !== "effect" && name !== "effect-connection-pool" && !/^(?:node:|\.)/.test(name))

/** Each program in a page, with the text between the heading or program before it, and it. */
const programsOf = (page: string): ReadonlyArray<{ readonly text: string; readonly code: string }> =>
  Array.from(page.matchAll(/```ts\n([\s\S]*?)```/g), ({ 1: code, index }) => ({
    text: page.slice(0, index).split(/^(?:#+ |```\n)/m).at(-1)!,
    code: code!
  }))

describe("a program in the documentation", () => {
  const pages = ["README.md", ...globSync("docs/*.md", { cwd: root }).toSorted()]

  it("that needs another package says so before its code", () => {
    let needing = 0
    for (const page of pages) {
      for (const { code, text } of programsOf(readFileSync(join(root, page), "utf8"))) {
        for (const name of packagesOf(code)) {
          needing++
          assert.include(text, name, `${page}: ${code.split("\n")[0]}`)
        }
      }
    }
    assert.isAtLeast(needing, 3)
  })

  it("is read as it is meant", () => {
    const code = "import { A } from \"@effect/x/deep\"\nimport { B } from \"effect/http\"\nimport \"node:fs\"\n"
    assert.deepStrictEqual(packagesOf(code), ["@effect/x"])
    const [first, second] = programsOf(`# a\n\nneeds x\n\n\`\`\`ts\none\n\`\`\`\n\nalso\n\n\`\`\`ts\ntwo\n\`\`\`\n`)
    assert.include(first!.text, "needs x")
    assert.notInclude(second!.text, "needs x")
    assert.include(second!.text, "also")
  })
})
