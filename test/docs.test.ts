import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Result } from "effect"
import { PoolError, PoolMapError, TransactionError } from "effect-connection-pool"
import { PgPoolError } from "effect-connection-pool/postgres"
import { SqlitePoolError } from "effect-connection-pool/sqlite"
import * as SqlErrors from "effect/sql/SqlError"
import { execFile } from "node:child_process"
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { claimOf, difference } from "../scripts/printed.ts"
import { durationOf } from "../src/internal/options/duration.ts"
import { variable } from "../src/internal/options/environment.ts"
import { healthConfigTable } from "../src/internal/options/health.ts"
import * as PoolOptions from "../src/internal/options/pool.ts"
import { poolMapConfigTable, resolve as resolvePoolMap } from "../src/internal/options/poolMap.ts"
import type { Rules } from "../src/internal/options/rules.ts"
import { replicasTable } from "../src/postgres/internal/options/hosts.ts"
import { pgPoolTable } from "../src/postgres/internal/options/pool.ts"
import { sharedReadsTable } from "../src/postgres/internal/options/sharedReads.ts"
import { sqlitePoolTable } from "../src/sqlite/internal/options/pool.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

const generated = join(root, "test/.generated")

/** An example from the documentation: a whole module, and what it prints, if that is shown below it. */
interface Example {
  readonly file: string
  readonly name: string
  readonly code: string
  readonly prints: string | undefined
}

/** The text of the documentation comments of a source file, or all of a page. */
const prose = (file: string): string => {
  const text = readFileSync(join(root, file), "utf8")
  if (file.endsWith(".md")) return text
  return (text.match(/\/\*\*[\s\S]*?\*\//g) ?? []).join("\n").replaceAll(/^ *\* ?/gm, "")
}

const examplesOf = (file: string): Array<Example> =>
  Array.from(prose(file).matchAll(/^```ts\n([\s\S]*?)^```\n(?:\s*Prints:\s*^```text\n([\s\S]*?)^```)?/gm)).map(
    ([, code, prints], index) => ({
      file,
      // With its folder: a page and a module may have one name. It ends as the README says, and fewer texts compile so.
      name: `${file.replace(/\.\w+$/, "").replaceAll("/", ".")}-${index + 1}.mts`,
      code: code!,
      prints
    })
  )

const files = [
  ...globSync("*.md", { cwd: root }),
  ...globSync("docs/**/*.md", { cwd: root }),
  ...globSync("src/**/*.ts", { cwd: root })
]

const examples = files.toSorted().flatMap(examplesOf)

rmSync(generated, { recursive: true, force: true })
mkdirSync(generated, { recursive: true })

for (const { code, name } of examples) writeFileSync(join(generated, name), code)
writeFileSync(
  join(generated, "tsconfig.json"),
  JSON.stringify({
    extends: "../../tsconfig.json",
    compilerOptions: { noUnusedLocals: false },
    include: ["*.mts"]
  })
)

const locked = new SqlErrors.SqlError({
  reason: new SqlErrors.LockTimeoutError({ cause: new Error(), message: "database is locked" })
})

const occupancy: PoolError.Occupancy = {
  max: 4,
  total: 4,
  connecting: 0,
  idle: 0,
  validating: 0,
  inUse: 4,
  resetting: 0,
  abandoned: 0,
  closing: 0,
  waiting: 12
}

const fullMap = { max: 2, total: 2, opening: 0, idle: 0, inUse: 2, closing: 0, waiting: 1 }

const timedOut = {
  map: "customers",
  key: `"ada"`,
  phase: "room" as const,
  waitedMillis: 30_000,
  timeoutMillis: 30_000,
  occupancy: fullMap,
  holders: []
}

/** One of each error, two where a message has two faces. */
const errors = [
  new PoolError.AcquireTimeoutError({
    pool: "app",
    phase: "queue",
    waitedMillis: 2000,
    timeoutMillis: 2000,
    occupancy,
    holders: [{
      connection: 3,
      label: "report",
      fiber: 41,
      heldMillis: 8120,
      statement: { text: "select * from visit where at < ?", isRunning: true, ranMillis: 8100 }
    }]
  }),
  new PoolError.AcquireTimeoutError({
    pool: "app",
    phase: "connect",
    waitedMillis: 2000,
    timeoutMillis: 2000,
    occupancy: { ...occupancy, total: 1, connecting: 1, inUse: 0, waiting: 1 },
    holders: [],
    lastConnectError: new Error("connect ECONNREFUSED 10.0.0.7:5432")
  }),
  new PoolError.QueueFullError({ pool: "app", maxWaiting: 12, occupancy }),
  new PoolError.PoolClosedError({ pool: "app", phase: "closed" }),
  new PoolError.SelfDeadlockError({
    pool: "app/writer",
    fiber: 41,
    occupancy: { ...occupancy, max: 1, total: 1, inUse: 1, waiting: 0 },
    sizeOption: null
  }),
  new PoolError.ConnectError({
    pool: "app/writer",
    attempts: 1,
    reason: { _tag: "ConnectTimedOut", afterMillis: 10_000 }
  }),
  new PoolError.PoolConfigError({
    pool: "app",
    problems: [{ field: "max", value: "0", message: "max is 0, but must be a whole number of at least 1" }]
  }),
  new PoolMapError.PoolMapTimeoutError({
    ...timedOut,
    occupancy: { ...fullMap, waiting: 7 },
    holders: [{ key: `"bob"`, label: "report", fiber: 41, heldMillis: 8120 }]
  }),
  new PoolMapError.PoolMapTimeoutError({ ...timedOut, ownLeases: 1 }),
  new PoolMapError.PoolOpenTimeoutError({ map: "customers", key: `"ada"`, timeoutMillis: 60_000 }),
  new PoolError.LeaseExpiredError({ pool: "app", operation: "query" }),
  new TransactionError.TransactionOptionsError({
    pool: "app",
    problems: [{ field: "readOnly", value: "7", message: "readOnly is 7, but must be true or false" }]
  }),
  new TransactionError.TransactionBeginError({ pool: "app", depth: 0, cause: locked }),
  new TransactionError.TransactionCommitError({ pool: "app", depth: 0, cause: locked }),
  new TransactionError.TransactionOutcomeUnknownError({ pool: "app", cause: locked }),
  new TransactionError.TransactionLostError({ pool: "app", statement: "insert into visit values (1)", cause: locked }),
  new TransactionError.TransactionTurnTimeoutError({
    pool: "app",
    operation: "select 1",
    waitedMillis: 2000,
    timeoutMillis: 2000,
    holder: { fiber: 41, operation: "transaction", label: "book", heldMillis: 2100 }
  }),
  new TransactionError.TransactionEndedError({ pool: "app", operation: "select 1" }),
  new TransactionError.TransactionRollbackError({ pool: "app", depth: 0, cause: locked }),
  new SqlitePoolError.SnapshotExpiredError({ pool: "app", heldMillis: 300_050, maxReadAgeMillis: 300_000 }),
  new SqlitePoolError.ForeignKeysViolatedError({
    pool: "app",
    count: 1,
    violations: [{ table: "book", rowid: 7, parent: "author", columns: ["author_id"], values: ["3"] }]
  }),
  new SqlitePoolError.FunctionError({
    function: "slug",
    cause: new TypeError(
      "it returned undefined, but must return null, text, a number, a bigint of 64 bits, a boolean or bytes"
    )
  }),
  new SqlitePoolError.BatchError({
    pool: "app",
    row: 40_117,
    stored: 0,
    cause: new SqlErrors.SqlError({
      reason: new SqlErrors.ConstraintError({ cause: undefined, message: "NOT NULL constraint failed: person.name" })
    })
  }),
  new PgPoolError.AdvisoryLockLostError({ pool: "app", key: "invoices" }),
  new SqlitePoolError.BackupError({
    pool: "app",
    target: "/backup/app.db",
    cause: new Error("it is a folder: name the file in it")
  })
]

const page = (file: string): string => readFileSync(join(root, file), "utf8")

const defaultsIn = (text: string) =>
  new Map(Array.from(text.matchAll(/^\| `(\w+)` +\| ([^|]+?) +\|/gm), ([, name, value]) => [name!, value!]))

const assertDocumented = (rows: ReadonlyMap<string, string>, settings: object) => {
  for (const [setting, value] of Object.entries(settings)) {
    const name = setting.replace(/Millis$/, "")
    const documented = rows.get(name)?.replaceAll(/[`"]/g, "") ?? assert.fail(`${name} is missing`)
    const found = /\d (ms|seconds?|minutes?)$/.test(documented)
      ? Duration.toMillis(Duration.fromInputUnsafe(documented.replace("ms", "millis") as "1 millis"))
      : documented
    assert.strictEqual(String(found), String(value), name)
  }
}

describe("the examples in the documentation", () => {
  it("compile", async () => {
    assert.isAbove(examples.length, 5)
    const output = await new Promise<string>((resolve) =>
      execFile(join(root, "node_modules/.bin/tsc"), ["-p", generated], { cwd: root }, (_, stdout) => resolve(stdout))
    )
    assert.strictEqual(output, "")
  }, 600_000)

  for (const { file, name, prints } of examples) {
    if (prints === undefined) continue
    it(`of ${file} print what it says (${name})`, async () => {
      // As a program of its own, in a folder of its own, as a user would run it.
      const folder = mkdtempSync(join(tmpdir(), "docs-"))
      const flags = ["--import", join(root, "test/support/programs/source.ts"), join(generated, name)]
      const { error, stderr, stdout } = await new Promise<{ error: unknown; stdout: string; stderr: string }>((
        resolve
      ) =>
        execFile(
          process.execPath,
          flags,
          { cwd: folder },
          (error, stdout, stderr) => resolve({ error, stdout, stderr })
        )
      )
      rmSync(folder, { recursive: true })
      assert.isNull(error, stderr)
      assert.isUndefined(difference(prints, stdout), stdout)
    }, 120_000)
  }

  it("that run by themselves say what they print", () => {
    // A service runs until it is stopped.
    const silent = examples.filter(({ code, prints }) =>
      /^await |runMain/m.test(code) && !code.includes("Layer.launch(") && prints === undefined
    )
    assert.deepStrictEqual(silent.map(({ name }) => name), [])
  })

  it("of the README are run", () => {
    assert.isAbove(examples.filter(({ file, prints }) => file === "README.md" && prints !== undefined).length, 0)
  })

  it("and their pages link to files and headings that exist", () => {
    for (const file of files.filter((file) => file.endsWith(".md"))) {
      for (const [, link] of page(file).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^\w+:/.test(link!)) continue
        const [path, anchor] = link!.split("#")
        const target = path === "" ? file : join(dirname(file), path!)
        assert.isTrue(existsSync(join(root, target)), `${file}: ${link}`)
        if (anchor === undefined) continue
        const anchors = Array.from(
          page(target).matchAll(/^#+ (.+)$/gm),
          ([, heading]) => heading!.toLowerCase().replaceAll(/[^\w\- ]/g, "").replaceAll(" ", "-")
        )
        assert.include(anchors, anchor, `${file}: ${link}`)
      }
    }
  })
})

describe("a claim about output", () => {
  it("holds if each line is the same, but for what may differ", () => {
    assert.isUndefined(difference("a\n… ms (took …)\n", "a\n1.5 ms (took 2 turns)\n"))
    assert.strictEqual(difference("a\nb", "a\nc"), `line 2 should be "b", but is "c"`)
    assert.strictEqual(difference("a\nb", "a"), `line 2 should be "b", but is absent`)
    assert.strictEqual(difference("a", "a\nb"), `line 2 should be absent, but is "b"`)
    assert.strictEqual(difference("a.c", "abc"), `line 1 should be "a.c", but is "abc"`)
    assert.strictEqual(difference("… ms", "1 ms\n2 ms"), `line 2 should be absent, but is "2 ms"`)
  })

  it("is made by every example, at its end", () => {
    const files = globSync("examples/*.ts", { cwd: root })
    assert.isAbove(files.length, 5)
    for (const file of files) assert.isDefined(claimOf(page(file)), file)
    assert.isUndefined(claimOf("console.log(1)\n"))
  })
})

describe("the documentation", () => {
  it("lists every option, with the default that it has", () => {
    const settings = Result.getOrThrow(
      PoolOptions.resolve({ factory: { connect: Effect.void, validate: () => Effect.succeed(true) } })
    )
    assertDocumented(defaultsIn(page("docs/options.md").split("## SQLite")[0]!), settings)
    const ofMap = Result.getOrThrow(resolvePoolMap({ open: () => Effect.void }))
    assertDocumented(defaultsIn(page("docs/options.md").split("## A map of pools")[1]!), ofMap)
  })

  it("lists every option of a PostgreSQL pool", () => {
    const [, section] = /## PostgreSQL\n([\s\S]+?)\n## /.exec(page("docs/options.md")) ?? assert.fail("no section")
    const own = Object.keys(pgPoolTable.rules).filter((name) =>
      name === "name" || !(name in PoolOptions.poolTable.rules)
    )
    assert.isAbove(own.length, 15)
    for (const name of own) assert.match(section!, new RegExp(`^\\| [^|]*\\b${name}\\b`, "m"), name)
  })

  it("lists every variable of the environment", () => {
    const rows = new Map(
      Array.from(
        page("docs/options.md").matchAll(/^\| `(\w+\.config)\(prefix\?\)` +\| (.+?) +\|$/gm),
        ([, name, variables]) => [name!, variables!.replaceAll("`", "").split(", ")]
      )
    )
    const variablesOf = (rules: Rules) =>
      Object.entries(rules).filter(([, { kind }]) => kind !== "value").map(([field]) => variable(field))
    assert.deepStrictEqual(Object.fromEntries(rows), {
      "PoolConfig.config": variablesOf(PoolOptions.poolTable.rules),
      "SqlitePool.config": variablesOf(sqlitePoolTable.rules),
      "PgPool.config": [
        ...variablesOf(pgPoolTable.rules),
        "HOSTS",
        ...variablesOf(replicasTable.rules).map((name) => `REPLICAS_${name}`),
        "SHARED_READS",
        ...variablesOf(sharedReadsTable.rules).map((name) => `SHARED_READS_${name}`)
      ],
      "PoolMap.config": variablesOf(poolMapConfigTable.rules),
      "HealthChecker.config": variablesOf(healthConfigTable.rules)
    })
  })

  it("lists every unit of a duration", () => {
    const [, units] = /is written +\|\n\| -.+\n((?:\|.+\n)+)/.exec(page("docs/options.md")) ?? assert.fail("no units")
    const names = Array.from(units!.matchAll(/`(\w+)`/g), ([, name]) => name!)
    assert.isAbove(names.length, 30)
    for (const name of names) assert.isDefined(durationOf(`5 ${name}`), name)
  })

  it("shows every picture of the benchmark, and no other", () => {
    const shown = ["README.md", "docs/performance.md"].flatMap((file) =>
      Array.from(page(file).matchAll(/!\[.+?\]\((.+?)\)/g), ([, path]) => join(dirname(file), path!))
    )
    assert.deepStrictEqual(new Set(shown), new Set(globSync("bench/results/*.svg", { cwd: root })))
  })

  it("has a README of at most 14 kB", () => {
    assert.isAtMost(Buffer.byteLength(page("README.md")), 14_000)
  })

  it("says where things are, by names that are there", () => {
    const [, table] = /## Where is it\?\n([\s\S]+?)\n## /.exec(page("docs/architecture.md")) ?? assert.fail("no table")
    const rows = table!.split("\n").filter((line) => line.includes("]("))
    assert.isAbove(rows.length, 10)
    for (const row of rows) {
      const sources = Array.from(row.matchAll(/\]\(\.\.\/(.+?)\)/g), ([, path]) => page(path!)).join("\n")
      for (const [, name] of row.matchAll(/`(\w+)`/g)) assert.match(sources, new RegExp(`\\b${name}\\b`), row)
    }
  })

  it("has a row for each folder of the source", () => {
    const folders = new Set(globSync("src/**/*.ts", { cwd: root }).map(dirname))
    for (const folder of folders) {
      // A wing of an inner folder is named in the row of that folder.
      const [, parent, wing] = /^(src\/(?:sqlite(?:-node)?|postgres))\/internal\/(\w+)$/.exec(folder) ?? []
      const row = page("docs/architecture.md").split("\n").find((line) =>
        line.startsWith(`| \`${parent === undefined ? folder : `${parent}/internal`}\` `)
      )
      if (/(?<!^src\/(?:sqlite|postgres))\/internal$/.test(folder)) continue
      assert.include(row ?? "", parent === undefined ? folder : `\`${wing}\``, folder)
    }
  })

  it("lists every metric", () => {
    const names = page("src/PoolMetrics.ts").matchAll(/"((?:db\.client\.connection|effect_connection_pool)\.[\w.]+)"/g)
    const documented = new Set(
      Array.from(page("docs/operating.md").matchAll(/`([a-z_]+(?:\.[a-z_]+)+)`/g), ([, name]) => name)
    )
    assert.deepStrictEqual(Array.from(names, ([, name]) => name!).filter((name) => !documented.has(name)), [])
  })

  it("lists every decision", () => {
    for (const file of globSync("docs/decisions/0*.md", { cwd: root })) {
      assert.include(page("docs/decisions/README.md"), `(${basename(file)})`)
    }
  })

  it("lists every error, with the message that it has", () => {
    const text = page("docs/errors.md").replaceAll("\n", " ")
    const exported = { ...PoolError, ...PoolMapError, ...TransactionError, ...SqlitePoolError, ...PgPoolError }
    const names = Object.keys(exported).filter((name) => /^[A-Z]\w+Error$/.test(name))
    assert.deepStrictEqual(new Set(errors.map(({ _tag }) => _tag)), new Set(names))
    for (const { _tag, message } of errors) assert.include(text, `> ${message} `, _tag)
    for (const { _tag } of errors) assert.include(text, ` ### \`${_tag}\` `)
  })

  it("lists every reason of a SqlError that there can be", () => {
    const reasons = page("docs/errors.md").split("## SqlError, by reason")[1]!
    const sources = globSync("src/**/*.ts", { cwd: root }).map(page).join("\n")
    const names = Object.keys(SqlErrors).filter((name) => /(Error|Violation)$/.test(name) && /^[A-Z]/.test(name))
    for (const name of names) {
      if (name !== "SqlError" && new RegExp(`\\b${name}\\b`).test(sources)) assert.include(reasons, `| \`${name}\``)
    }
  })

  it("names tests that exist in its table of features", () => {
    const rows = Array.from(page("docs/features.md").matchAll(/^\| ([SANPOQ]\d+) +\| .+? +\| (.+?) +\|$/gm))
    assert.strictEqual(rows.length, 72)
    for (const [, id, proof] of rows) {
      if (proof === "not yet") continue
      const [, file, name] = /^`([\w/.-]+)`: (.+)$/.exec(proof!) ?? assert.fail(`${id} names no test`)
      const tests = readFileSync(join(root, `test/${file}.test.ts`), "utf8")
      assert.include(tests, name!, id)
    }
  })
})
