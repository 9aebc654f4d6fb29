/**
 * Packs the package as npm would publish it, installs it into an empty folder beside `effect`, and uses it from there, as
 * its users do: the install warns of nothing, every entry point loads, its types are found whichever way they are looked
 * for, what is internal stays closed, and what its pages link to is in the package.
 */
import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const { exports, name, peerDependencies, peerDependenciesMeta } = JSON.parse(
  readFileSync(join(root, "package.json"), "utf8")
) as {
  readonly name: string
  readonly exports: Record<string, unknown>
  readonly peerDependencies: Record<string, string>
  /** All of them are optional: every other entry point has to work without. */
  readonly peerDependenciesMeta: Record<string, unknown>
}

/** The entry points that need an optional peer, and which. */
const needing: Readonly<Record<string, string>> = { "./postgres": "@effect/sql-pg" }
const run = (command: string, args: ReadonlyArray<string>, cwd: string) =>
  execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] })

/** What TypeScript says of `use.ts` where modules are resolved like this. */
const typeCheck = (folder: string, options: ReadonlyArray<string>) => {
  const strict = ["--strict", "--noEmit", "--target", "es2024", "--exactOptionalPropertyTypes"]
  const types = ["--types", "node", "--typeRoots", join(root, "node_modules/@types")]
  const args = [...strict, ...types, ...options, "use.ts"]
  const { status, stdout } = spawnSync(join(root, "node_modules/.bin/tsc"), args, { cwd: folder, encoding: "utf8" })
  if (status !== 0) throw new Error(`types, with ${options.join(" ")}:\n${stdout}`)
}

const folder = mkdtempSync(join(tmpdir(), "package-"))
try {
  const packing = run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], root)
  const [{ files, filename }] = JSON.parse(packing) as [
    { readonly filename: string; readonly files: ReadonlyArray<{ readonly path: string }> }
  ]
  const packed = new Set(files.map((file) => file.path))
  for (const file of ["package.json", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]) {
    if (!packed.has(file)) throw new Error(`${file} is not in the package`)
  }
  for (const path of packed) {
    if (/^(test|scripts|runtimes|coverage|\.)|^bench\/(?!README\.md$|results\/[\w-]+\.svg$)/.test(path)) {
      throw new Error(`${path} is in the package`)
    }
  }

  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }))
  const effect = `effect@${peerDependencies["effect"]}`
  const install = ["install", "--no-audit", "--no-fund", join(folder, filename), effect]
  const { status, stderr } = spawnSync("npm", install, { cwd: folder, encoding: "utf8" })
  if (status !== 0) throw new Error(`the install fails:\n${stderr}`)
  if (/warn/i.test(stderr)) throw new Error(`the install warns:\n${stderr}`)

  for (const peer of Object.keys(peerDependenciesMeta)) {
    if (existsSync(join(folder, "node_modules", peer))) throw new Error(`${peer} is installed, but should be optional`)
  }

  const installed = join(folder, "node_modules", name)
  let links = 0
  for (const page of packed) {
    if (!page.endsWith(".md") || page === "CHANGELOG.md") continue
    for (const [, link] of readFileSync(join(installed, page), "utf8").matchAll(/\]\(([^)\s#]+)(?:#[^)]*)?\)/g)) {
      if (/^\w+:/.test(link!)) continue
      links++
      if (!existsSync(join(installed, dirname(page), link!))) throw new Error(`${page}: ${link} is not in the package`)
    }
  }
  if (links < 10) throw new Error(`only ${links} links were found in the pages: they are no longer understood`)

  const entries = Object.keys(exports).filter((entry) => !entry.endsWith(".json"))
  const specifiers = entries.filter((entry) => needing[entry] === undefined).map((entry) => name + entry.slice(1))
  const imports = specifiers.map((specifier, index) => `import * as entry${index} from ${JSON.stringify(specifier)}`)
  const use = `
for (const entry of [${specifiers.map((_, index) => `entry${index}`).join(", ")}]) {
  if (Object.keys(entry).length === 0) throw new Error("an entry point exports nothing")
}
`
  const closed = [
    "internal/pool/state.js",
    "dist/internal/pool/state.js",
    "dist/index.js",
    "src/index.ts",
    "sqlite/internal/sql/statementKind.js"
  ]
    .map((path) => `${name}/${path}`)
  writeFileSync(
    join(folder, "use.mjs"),
    `${imports.join("\n")}\n${use}
for (const closed of ${JSON.stringify(closed)}) {
  const code = await import(closed).then(() => "none", (error) => error.code)
  if (code !== "ERR_PACKAGE_PATH_NOT_EXPORTED") throw new Error(closed + " is open: " + code)
}
`
  )
  run(process.execPath, ["use.mjs"], folder)

  for (const [entry, peer] of Object.entries(needing)) {
    const specifier = name + entry.slice(1)
    specifiers.push(specifier)
    writeFileSync(
      join(folder, "need.mjs"),
      `
const found = await import(${JSON.stringify(specifier)}).then(
  (entry) => Object.keys(entry).length + " exports",
  (error) => error.code + (error.message.includes(${JSON.stringify(peer)}) ? " of the peer" : "")
)
process.stdout.write(found)
`
    )
    const without = run(process.execPath, ["need.mjs"], folder)
    if (without !== "ERR_MODULE_NOT_FOUND of the peer") throw new Error(`${specifier} without ${peer}: ${without}`)
    run("npm", ["install", "--no-audit", "--no-fund", `${peer}@${peerDependencies[peer]}`], folder)
    const beside = run(process.execPath, ["need.mjs"], folder)
    if (!/^[1-9]\d* exports$/.test(beside)) throw new Error(`${specifier} with ${peer}: ${beside}`)
  }

  writeFileSync(
    join(folder, "use.ts"),
    `${imports.join("\n")}\n${use}
import { Effect, type Scope } from "effect"
import { ConnectionPool, HealthChecker, InMemoryConnection, type PoolError } from "${name}"
import { PgPool } from "${name}/postgres"
import { SqlitePool } from "${name}/sqlite"
import { SqliteClient } from "${name}/sqlite-node"
import { FaultyFactory, PoolAssert } from "${name}/testing"
import type { SqlError } from "effect/sql/SqlError"

export const program: Effect.Effect<
  unknown,
  PoolError.PoolConfigError | PoolError.PoolError<never> | PoolError.LeaseExpiredError
> = Effect.scoped(Effect.gen(function*() {
  const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), max: 2 })
  return yield* pool.use((connection) => connection.get("key"))
}))

export const database: Effect.Effect<
  number,
  PoolError.PoolConfigError | PoolError.PoolError<SqlError> | SqlError | PoolError.LeaseExpiredError,
  Scope.Scope
> = Effect.gen(function*() {
  const db = yield* SqlitePool.make({ filename: ":memory:" })
  const health = yield* HealthChecker.make(db)
  yield* health.report
  const rows = yield* db.read((reader) => reader.query("select 1"))
  // @ts-expect-error a reader cannot write
  db.read((reader) => reader.run("delete from t"))
  return rows.length
})

export const rows: Effect.Effect<
  ReadonlyArray<object>,
  PoolError.PoolConfigError | PoolError.ConnectError<SqlError> | SqlError,
  Scope.Scope
> = Effect.flatMap(PgPool.make({ host: "db", max: 2 }), ({ sql }) => sql.unsafe<{ readonly id: number }>("select id from person"))

export const layer = SqliteClient.layer({ filename: "app.db", readers: 2 })

export const test = Effect.scoped(Effect.gen(function*() {
  const faulty = yield* FaultyFactory.make()
  yield* PoolAssert.nothingLeaked(faulty, yield* ConnectionPool.make({ factory: faulty.factory }))
}))

${
      closed.map((path, index) => `// @ts-expect-error it is closed\nimport type * as closed${index} from "${path}"`)
        .join("\n")
    }
`
  )
  typeCheck(folder, ["--module", "nodenext"])
  typeCheck(folder, ["--module", "esnext", "--moduleResolution", "bundler"])
  console.log(`${filename}: ${packed.size} files, ${links} links, ${specifiers.join(", ")}`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
