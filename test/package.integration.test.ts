import { assert, describe, it } from "@effect/vitest"
import * as core from "effect-connection-pool"
import * as postgres from "effect-connection-pool/postgres"
import * as sqlite from "effect-connection-pool/sqlite"
import * as sqliteNode from "effect-connection-pool/sqlite-node"
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))

const { bugs, homepage, name, repository, scripts, version } = JSON.parse(
  readFileSync(join(root, "package.json"), "utf8")
) as {
  readonly name: string
  readonly version: string
  readonly homepage: string
  readonly bugs: { readonly url: string }
  readonly repository: { readonly url: string }
  readonly scripts: Record<string, string>
}

describe("the package", () => {
  it("is installed from the file that the README says, as long as it is not published", () => {
    const readme = readFileSync(join(root, "README.md"), "utf8")
    assert.include(readme, "The package is not published yet.")
    assert.include(readme, `npm install /path/to/${name}-${version}.tgz effect\n`)
  })

  it("names its home, and cannot be published while that is a placeholder", () => {
    const urls = [repository.url, bugs.url, homepage]
    for (const url of urls) assert.match(url, /^(?:git\+)?https:\/\//)
    assert.strictEqual(scripts["prepublishOnly"], "node scripts/check-home.ts")
    const { status, stderr } = spawnSync(process.execPath, ["scripts/check-home.ts"], { cwd: root, encoding: "utf8" })
    const isPlaceholder = urls.some((url) => url.includes("example.invalid"))
    assert.deepStrictEqual([status, stderr.includes("before it is published")], isPlaceholder ? [1, true] : [0, false])
  })

  it("has no scripts that run where it is installed", () => {
    for (const hook of ["preinstall", "install", "postinstall", "prepare"]) assert.notProperty(scripts, hook)
  })
})

describe("a layer that takes options", () => {
  it("has one beside it that takes them from the configuration, in every module", () => {
    const services = {
      "ConnectionPool.Service": core.ConnectionPool.Service<unknown, object>()("app/Pool"),
      "HealthChecker.Service": core.HealthChecker.Service<unknown>()("app/Health"),
      "PgPool.Service": postgres.PgPool.Service<unknown>()("app/Postgres"),
      "SqlitePool.Service": sqlite.SqlitePool.Service<unknown>()("app/Database")
    }
    const modules = Object.entries({ ...core, ...postgres, ...sqlite, ...sqliteNode, ...services })
    const withLayer = modules.filter(([, module]) => typeof module !== "string" && "layer" in module)
    const without = withLayer.filter(([, module]) => !("layerConfig" in module)).map(([name]) => name)
    // Migrations are code.
    assert.deepStrictEqual(without, ["SqliteMigrator"])
    assert.isAtLeast(withLayer.length, 8)
  })
})
