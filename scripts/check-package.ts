/**
 * Packs the package as npm would publish it, installs it into an empty folder beside `effect`, and uses it from there:
 * every entry point loads, its types are found, and what is internal stays closed.
 */
import { execFileSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const { exports, name, peerDependencies, peerDependenciesMeta } = JSON.parse(
  readFileSync(join(root, "package.json"), "utf8")
) as {
  readonly name: string
  readonly exports: Record<string, unknown>
  readonly peerDependencies: Record<string, string>
  /** All of them are optional: every entry point has to work without. */
  readonly peerDependenciesMeta: Record<string, unknown>
}
const run = (command: string, args: ReadonlyArray<string>, cwd: string) =>
  execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] })

const folder = mkdtempSync(join(tmpdir(), "package-"))
try {
  const [{ files, filename }] = JSON.parse(run("npm", ["pack", "--json", "--pack-destination", folder], root)) as [
    { readonly filename: string; readonly files: ReadonlyArray<{ readonly path: string }> }
  ]
  const packed = new Set(files.map((file) => file.path))
  for (const file of ["package.json", "README.md", "LICENSE", "CHANGELOG.md"]) {
    if (!packed.has(file)) throw new Error(`${file} is not in the package`)
  }
  for (const path of packed) {
    if (/^(test|bench|examples|scripts|\.)/.test(path)) throw new Error(`${path} is in the package`)
  }

  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }))
  const effect = `effect@${peerDependencies["effect"]}`
  run("npm", ["install", "--no-audit", "--no-fund", join(folder, filename), effect], folder)

  for (const peer of Object.keys(peerDependenciesMeta)) {
    if (existsSync(join(folder, "node_modules", peer))) throw new Error(`${peer} is installed, but should be optional`)
  }

  const entries = Object.keys(exports).filter((entry) => entry.startsWith(".") && !/\*|\.json$/.test(entry))
  const specifiers = entries.map((entry) => name + entry.slice(1))
  const imports = specifiers.map((specifier, index) => `import * as entry${index} from ${JSON.stringify(specifier)}`)
  const use = `
for (const entry of [${specifiers.map((_, index) => `entry${index}`).join(", ")}]) {
  if (Object.keys(entry).length === 0) throw new Error("an entry point exports nothing")
}
`
  writeFileSync(
    join(folder, "use.mjs"),
    `${imports.join("\n")}\n${use}
for (const closed of ["internal/state.js", "internal/pool.js", "dist/internal/state.js"]) {
  const found = await import(${JSON.stringify(name)} + "/" + closed).then(() => true, () => false)
  if (found) throw new Error(closed + " is open")
}
`
  )
  run(process.execPath, ["use.mjs"], folder)

  writeFileSync(
    join(folder, "use.ts"),
    `${imports.join("\n")}\n${use}
import { Effect } from "effect"
import { ConnectionPool, InMemoryConnection } from ${JSON.stringify(name)}

export const program: Effect.Effect<unknown, unknown> = Effect.scoped(Effect.gen(function*() {
  const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), max: 2 })
  return yield* pool.use((connection) => connection.get("key"))
}))
`
  )
  const options = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2024", "--exactOptionalPropertyTypes"]
  run(join(root, "node_modules/.bin/tsc"), [
    ...options,
    "--types",
    "node",
    "--typeRoots",
    join(root, "node_modules/@types"),
    "use.ts"
  ], folder)
  console.log(`${filename}: ${packed.size} files, ${specifiers.join(", ")}`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
