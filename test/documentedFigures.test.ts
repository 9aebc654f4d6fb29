import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { goals } from "../bench/goals.ts"
import { costTables, missedGoals, ofWhichRun, type PageRow, pageTables } from "../bench/report/pageTables.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const page = (file: string): string => readFileSync(join(root, file), "utf8")

interface Measured {
  readonly name: string
  readonly load?: string
  readonly costs: ReadonlyArray<number>
}

interface Measurements {
  readonly cases: ReadonlyArray<{ readonly name: string; readonly contestants: ReadonlyArray<Measured> }>
}

interface Goal {
  readonly name: string
  readonly case: string
  readonly atMost: number
  readonly stated: number
  readonly floorRatio?: number
  readonly median: number
  readonly reached: boolean
}

interface Run extends Measurements {
  readonly isShort: boolean
  readonly date: string
  readonly commit: string
  readonly versions: { readonly node: string }
  readonly machine: { readonly processor: string }
  readonly goals: ReadonlyArray<Goal>
  readonly otherNodes?: ReadonlyArray<Measurements & { readonly versions: { readonly node: string } }>
}

const results = "bench/results"
/** The run of all cases, and later ones of some. */
const runs = readdirSync(join(root, results)).filter((file) => file.endsWith(".json")).map((file) =>
  JSON.parse(page(`${results}/${file}`)) as Run
).toSorted((one, other) => Number(one.date > other.date) - 0.5)
const isOf = (at: number, one: string): boolean =>
  runs.findLastIndex(({ cases }) => cases.some(({ name }) => name === one)) === at

const record: Run = {
  ...runs[0]!,
  cases: runs.flatMap(({ cases }, at) => cases.filter(({ name }) => isOf(at, name))),
  goals: runs.flatMap(({ goals }, at) => goals.filter((goal) => isOf(at, goal.case)))
}

const median = (numbers: ReadonlyArray<number>): number => {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle) - 1]!) / 2
}

const costsOf = ({ cases }: Measurements, one: string, who: string, load: string | undefined) =>
  cases.find(({ name }) => name === one)?.contestants.find((entry) => entry.name === who && entry.load === load)?.costs

/** The median of the ratios of each round, if both took part. */
const ratio = (from: Measurements, { case: one, load, subject }: PageRow, peer: string): number | undefined => {
  const [costs, against] = [costsOf(from, one, subject, load), costsOf(from, one, peer, load)]
  if (costs === undefined || against === undefined) return undefined
  return median(costs.map((cost, round) => cost / against[round]!))
}

const written = (value: number): string => value < 0.1 ? value.toPrecision(2) : value.toFixed(2)

const pages = ["README.md", "docs/performance.md", "docs/postgres.md", "docs/sqlite.md", "docs/workers.md"].map(page)
  .join("\n")

/** What the pages have under that name. */
const partOf = (name: string): string => {
  const [, after] = pages.split(`<!-- measured: ${name} -->`)
  return (after ?? assert.fail(`no page has the table ${name}`)).split("<!-- end -->")[0]!
}

/** The cells of the table of that name, row by row, without its head. */
const cellsOf = (name: string): ReadonlyArray<ReadonlyArray<string>> => {
  const rows = partOf(name).split("\n").filter((line) => line.startsWith("|"))
  return rows.slice(2).map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim()))
}

describe("the figures of the benchmark in the documentation", () => {
  it("are those of full runs of the benchmark", () => {
    for (const { isShort } of runs) assert.isFalse(isShort)
  })

  it("all stand in tables that are held to the record", () => {
    const names = Array.from(pages.matchAll(/<!-- measured: (.+?) -->/g), ([, name]) => name!)
    const known = [...pageTables, ...costTables].map(({ name }) => name)
    assert.deepStrictEqual(names.toSorted(), [...known, missedGoals, ofWhichRun].toSorted())
  })

  it("are said to be of the commit and the day of the record, and of none of the goals that came later", () => {
    const words = partOf(ofWhichRun).replaceAll(/\s+/g, " ")
    const day = new Date(record.date).toLocaleDateString("en-GB", { dateStyle: "long", timeZone: "UTC" })
    assert.include(words, `of the run of ${day}, of commit \`${record.commit}\`, on Node ${record.versions.node} `)
    for (const { commit, machine } of runs.slice(1)) {
      const where = machine.processor === record.machine.processor ? "" : `, on another machine (${machine.processor})`
      assert.include(words, `of commit \`${commit}\`${where}.`)
    }
    const later = goals.length - record.goals.length
    const expected = later === 0 ? undefined : String(later)
    assert.strictEqual(/(\d+) goals that `bench\/goals\.ts` was given later/.exec(words)?.[1], expected)
  })

  it("have no words around them where the record has none", () => {
    for (const { before, name } of [...pageTables, ...costTables]) {
      const isEmpty = cellsOf(name).length === 0
      if (isEmpty) assert.strictEqual(partOf(name).trim(), "", name)
      else if (before !== undefined) assert.include(partOf(name), before, name)
      if (before !== undefined) assert.strictEqual(pages.split(before).length, isEmpty ? 1 : 2, name)
    }
  })

  for (const { columns, name, node26, rows } of pageTables) {
    it(`are those of the record in the table ${name}`, () => {
      const from = node26 === true ? record.otherNodes?.[0] ?? { cases: [] } : record
      const expected = rows.map((row) =>
        [row.label].concat(
          Object.values(columns).map((peers) => {
            const found = [peers].flat().map((peer) => ratio(from, row, peer)).find((ratio) => ratio !== undefined)
            return found === undefined ? "" : written(found)
          })
        )
      )
      assert.deepStrictEqual(cellsOf(name), expected.filter((cells) => cells.slice(1).some((cell) => cell !== "")))
    })
  }

  for (const { case: one, columns, contestants, name } of costTables) {
    it(`are those of the record in the table ${name}`, () => {
      const expected = contestants.map((who) =>
        [who].concat(
          Object.values(columns).map((load) => {
            const costs = costsOf(record, one, who, load)
            if (costs === undefined) return ""
            return median(costs) < 10 ? String(Number(median(costs).toPrecision(2))) : median(costs).toFixed(0)
          })
        )
      )
      assert.deepStrictEqual(cellsOf(name), expected.filter((cells) => cells.slice(1).some((cell) => cell !== "")))
    })
  }

  it("replace a goal only by the ratio of a floor that does not reach it", () => {
    const goals = record.goals.filter(({ floorRatio }) => floorRatio !== undefined)
    assert.isAbove(goals.length, 0)
    for (const { atMost, floorRatio, median, name, reached, stated } of record.goals) {
      assert.strictEqual(atMost, Math.max(stated, floorRatio ?? 0), name)
      assert.strictEqual(reached, median <= atMost, name)
    }
  })

  it("name every goal that was not reached, and say how many they are", () => {
    const missed = record.goals.filter(({ reached }) => !reached)
    assert.deepStrictEqual(
      cellsOf(missedGoals).map(([name, , , atMost, measured]) => [name, atMost, measured]),
      missed.map(({ atMost, median, name }) => [name, written(atMost), written(median)])
    )
    const [, all, reached] = /Of the (\d+) goals of `bench\/goals\.ts`, (\d+) were reached/.exec(pages) ??
      assert.fail("no page says how many goals were reached")
    assert.deepStrictEqual([Number(all), Number(reached)], [record.goals.length, record.goals.length - missed.length])
    const counts = Array.from(
      pages.matchAll(/(\d+)\s+of\s+(\d+)\s+goals/g),
      ([, some, all]) => [Number(some), Number(all)]
    )
    assert.isAbove(counts.length, 1)
    for (const count of counts) assert.deepStrictEqual(count, [missed.length, record.goals.length])
  })

  it("are those of that run where the guide says what lending costs", () => {
    for (
      const [operation, subject] of Object.entries({
        use: "ours: use",
        useSync: "ours: useSync",
        acquire: "ours: acquire"
      })
    ) {
      const [, cell] =
        new RegExp(`^\\| \`pool\\.${operation}\\(.+\\| +([\\d.]+) +\\|$`, "m").exec(page("docs/guide.md")) ??
          assert.fail(operation)
      assert.strictEqual(cell, written(ratio(record, { label: "", case: "alone", subject }, "Pool.use")!), operation)
    }
  })

  it("are those of that run where the README says how long a read takes beside a writer", () => {
    const [, ours, theirs] = /median read takes ([\d.]+) ms\. With `@effect\/sql-sqlite-node`\s+it takes (\d+) ms/.exec(
      page("README.md")
    ) ?? assert.fail("the README does not say it")
    const medianOf = (who: string): number => {
      const costs = costsOf(record, "beside-writer-gap0", who, "median") ?? assert.fail(who)
      return costs.toSorted((a, b) => a - b)[Math.floor(costs.length / 2)]! / 1e6
    }
    assert.strictEqual(ours, medianOf("ours: sql").toFixed(3))
    assert.strictEqual(theirs, medianOf("@effect/sql-sqlite-node: sql").toFixed(0))
  })
})
