import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))

const page = (file: string): string => readFileSync(join(root, file), "utf8")

describe("the figures in the README and in docs/performance.md", () => {
  interface Measured {
    readonly name: string
    readonly load?: string
    readonly costs: ReadonlyArray<number>
  }
  const readme = page("README.md")
  const tables = `${readme}\n${page("docs/performance.md")}`
  const { cases, isShort } = JSON.parse(readFileSync(join(root, "bench/results/latest.json"), "utf8")) as {
    readonly isShort: boolean
    readonly cases: ReadonlyArray<{ readonly name: string; readonly contestants: ReadonlyArray<Measured> }>
  }

  /** The median of the ratios of each round. */
  const ratio = (one: string, subject: string, peer: string, load: string | undefined): string => {
    const { contestants } = cases.find(({ name }) => name === one) ?? assert.fail(`there is no case ${one}`)
    const costsOf = (who: string) =>
      contestants.find((entry) => entry.name === who && entry.load === load)?.costs ??
        assert.fail(`no ${who} in ${one}`)
    const against = costsOf(peer)
    const ratios = costsOf(subject).map((cost, round) => cost / against[round]!).toSorted((a, b) => a - b)
    const middle = ratios.length / 2
    return ((ratios[Math.floor(middle)]! + ratios[Math.ceil(middle) - 1]!) / 2).toFixed(2)
  }

  const rows: Readonly<Record<string, readonly [one: string, subject: string, load?: string]>> = {
    "`use`, one user": ["alone", "ours: use"],
    "`useSync`, one user": ["alone", "ours: useSync"],
    "100 users, 4 connections": ["crowd-microtask", "ours: use"],
    "10 000 in line": ["line-10k", "ours: use"],
    "100 000 in line": ["line-100k", "ours: use", "100k"],
    "10 000 in line with a deadline each": ["line-deadline", "ours: use"],
    "half of 10 000 in line interrupted": ["leave-interrupted", "ours: use"],
    "memory of one in line": ["heap-waiter", "ours: use"],
    "reads by key, `sql`": ["point-reads", "ours: sql"],
    "reads by key, `read`": ["point-reads", "ours: read"]
  }

  const figuresUnder = (peers: ReadonlyArray<string>) =>
    Array.from(tables.matchAll(/^\| (.+?) +\|((?: +[\d.]* \|){4})$/gm)).flatMap(([, label, cells]) => {
      const figures = cells!.split("|").slice(0, 4).map((cell) => cell.trim())
      const [one, subject, load] = rows[label!] ?? assert.fail(`nothing is known of ${label}`)
      return (one === "point-reads") === peers.includes("kysely")
        ? figures.map((figure, column) => ({ label, peer: peers[column]!, figure, one, subject, load }))
        : []
    }).filter(({ figure }) => figure !== "")

  it("are those of the last full run of the benchmark", () => {
    assert.isFalse(isShort)
    const figures = [
      ...figuresUnder(["Pool.use", "tarn", "generic-pool", "pg-pool"]),
      ...figuresUnder(["node:sqlite", "@effect/sql-sqlite-node: sql", "kysely", "knex: builder"])
    ]
    assert.isAbove(figures.length, 30)
    for (const { figure, label, load, one, peer, subject } of figures) {
      assert.strictEqual(figure, ratio(one, subject, peer, load), `${label} beside ${peer}`)
    }
  })

  it("are those of that run where the README says how long a read takes beside a writer", () => {
    const [, ours, theirs] = /median read takes ([\d.]+) ms\. With `@effect\/sql-sqlite-node`\s+it takes (\d+) ms/.exec(
      readme
    ) ?? assert.fail("the README does not say it")
    const medianOf = (who: string): number => {
      const { contestants } = cases.find(({ name }) => name === "beside-writer-gap0") ?? assert.fail("no such case")
      const { costs } = contestants.find(({ load, name }) => name === who && load === "median") ?? assert.fail(who)
      return costs.toSorted((a, b) => a - b)[Math.floor(costs.length / 2)]! / 1e6
    }
    assert.strictEqual(ours, medianOf("ours: sql").toFixed(3))
    assert.strictEqual(theirs, medianOf("@effect/sql-sqlite-node: sql").toFixed(0))
  })
})
