/** The dashboard and the alert rules ask for metrics, labels and values that Effect's Prometheus exporter really prints. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric } from "effect"
import { ConnectionPool, HealthChecker, InMemoryConnection, PoolMap, PoolMetrics } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { PrometheusMetrics } from "effect/observability"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { file } from "./support/files.ts"
import { type Exported, exportOf, matches, problemsOf, selectorsOf } from "./support/promql.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const page = (path: string): string => readFileSync(join(root, path), "utf8")

/** What a pool, a database, a map and their health checkers print. */
const exported: Effect.Effect<Exported> = Effect.scoped(Effect.gen(function*() {
  const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), name: "sessions", max: 2 })
  yield* pool.use((connection) => connection.get("user"))
  const filename = yield* file
  const db = yield* SqlitePool.make({ filename, name: "app", slowStatement: "1 second", drainTimeout: 0 })
  yield* db.sql`create table t(a)`
  const map = yield* PoolMap.make({ name: "customers", open: (key: string) => Effect.succeed(key) })
  yield* map.use("ada", Effect.succeed)
  // Made by a PostgreSQL pool whose reads share connections, which takes a server.
  yield* Metric.update(PoolMetrics.of("postgres/shared").sharedReads.answered, 1)
  for (const watched of [pool, db]) yield* (yield* HealthChecker.make(watched)).report
  return exportOf(yield* PrometheusMetrics.format())
})).pipe(Effect.provideService(Metric.MetricRegistry, new Map()), Effect.orDie)

interface Target {
  readonly expr: string
  readonly legendFormat: string
}

interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly datasource?: { readonly type: string; readonly uid: string }
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number }
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string; readonly mappings?: ReadonlyArray<unknown> } }
  readonly targets?: ReadonlyArray<Target & { readonly refId: string }>
}

interface Dashboard {
  readonly schemaVersion: number
  readonly panels: ReadonlyArray<Panel>
  readonly templating: {
    readonly list: ReadonlyArray<{ readonly name: string; readonly type: string; readonly definition?: string }>
  }
}

const dashboard = JSON.parse(page("docs/dashboards/pools.grafana.json")) as Dashboard
const panels = dashboard.panels.filter(({ type }) => type !== "row")
const targets = panels.flatMap(({ targets, title }) =>
  (targets ?? []).map(({ expr, legendFormat }) => ({ expr, legendFormat, title }))
)

interface Rule {
  readonly name: string
  readonly expr: string
  readonly wait: string
  readonly severity: string
  readonly summary: string
  readonly description: string
}

/** The rules: each field of a rule is a line of its own, but for the folded lines of the description. */
const rules: ReadonlyArray<Rule> = page("docs/dashboards/alerts.prometheus.yml").split(/^ {6}- alert: /m).slice(1).map(
  (text) => {
    const field = (name: string) =>
      new RegExp(`^ +${name}: (.+)$`, "m").exec(text)?.[1] ?? assert.fail(`no ${name}: ${text}`)
    const [, folded] = /^ {10}description: >-\n((?: {12}.+\n)+)/m.exec(text) ?? assert.fail(`no description: ${text}`)
    return {
      name: text.split("\n")[0]!,
      expr: field("expr"),
      wait: field("for"),
      severity: field("severity"),
      summary: field("summary"),
      description: folded!.trim().replaceAll(/\n +/g, " ")
    }
  }
)

/** Metrics that are not in the dashboard, and why. */
const leftOut: Readonly<Record<string, string>> = {
  db_client_connection_idle_max: "it is always the same as db_client_connection_max"
}

/** The labels that Prometheus adds to what it scrapes. */
const scraped = ["job", "instance"]

describe("the dashboard", () => {
  it.effect("asks for metrics, labels and values that the exporter prints", () =>
    Effect.gen(function*() {
      const found = yield* exported
      assert.isAbove(targets.length, 40)
      for (const { expr, legendFormat, title } of targets) {
        assert.deepStrictEqual(problemsOf(expr, found, scraped), [], `${title}: ${expr}`)
        for (const [, label] of legendFormat.matchAll(/\{\{(.*?)\}\}/g)) {
          assert.include(/by \(([^)]*)\)/.exec(expr)?.[1]?.split(", ") ?? [], label, `${title}: ${legendFormat}`)
        }
      }
      for (const { definition, name, type } of dashboard.templating.list) {
        if (type !== "query") continue
        const [, selector, label] = /^label_values\((.+), (\w+)\)$/.exec(definition ?? "") ?? assert.fail(name)
        assert.deepStrictEqual(problemsOf(`sum by (${label}) (${selector})`, found, scraped), [], name)
      }
    }))

  it.effect("shows every metric of a pool, a map and a health checker", () =>
    Effect.gen(function*() {
      const found = yield* exported
      const shown = new Set(
        targets.flatMap(({ expr }) => selectorsOf(expr)).map(({ metric }) =>
          found.has(metric) ? found.get(metric)!.family : metric
        )
      )
      const families = new Set(Array.from(found.values(), ({ family }) => family))
      const names = Array.from(
        page("src/PoolMetrics.ts").matchAll(/"((?:db\.client\.connection|effect_connection_pool)\.[\w.]+)"/g),
        ([, name]) => name!.replaceAll(".", "_")
      ).filter((name) => name !== "db_client_connection_pool_name" && name !== "db_client_connection_state")
      assert.deepStrictEqual(new Set(names), families)
      assert.deepStrictEqual(names.filter((name) => !shown.has(name)), Object.keys(leftOut))
    }))

  it("can be imported: its panels have identities, places, units and descriptions of their own", () => {
    assert.isAtLeast(dashboard.schemaVersion, 39)
    const ids = dashboard.panels.map(({ id }) => id)
    assert.strictEqual(new Set(ids).size, ids.length)
    assert.deepStrictEqual(dashboard.templating.list.map(({ name }) => name), [
      "datasource",
      "job",
      "instance",
      "pool",
      "map"
    ])
    const variables = new Set(["__rate_interval", "datasource", ...dashboard.templating.list.map(({ name }) => name)])
    const taken = new Map<string, string>()
    for (const { gridPos: { h, w, x, y }, title } of dashboard.panels) {
      assert.isAtMost(x + w, 24, title)
      for (let row = y; row < y + h; row++) {
        for (let column = x; column < x + w; column++) {
          assert.isFalse(taken.has(`${column},${row}`), `${title} lies on ${taken.get(`${column},${row}`)}`)
          taken.set(`${column},${row}`, title)
        }
      }
    }
    for (const { datasource, description, fieldConfig, targets, title } of panels) {
      assert.deepStrictEqual(datasource, { type: "prometheus", uid: "${datasource}" }, title)
      assert.isAbove(description?.length ?? 0, 10, title)
      assert.isDefined(fieldConfig?.defaults.unit ?? fieldConfig?.defaults.mappings, title)
      const refs = (targets ?? []).map(({ refId }) => refId)
      assert.strictEqual(new Set(refs).size, refs.length, title)
      for (const { expr } of targets ?? []) {
        for (const [, variable] of expr.matchAll(/\$(\w+)/g)) {
          assert.isTrue(variables.has(variable!), `${title}: ${expr}`)
        }
      }
    }
  })
})

describe("the alert rules", () => {
  it.effect("ask for metrics, labels and values that the exporter prints", () =>
    Effect.gen(function*() {
      const found = yield* exported
      assert.isAbove(rules.length, 10)
      for (const { description, expr, name, summary } of rules) {
        assert.deepStrictEqual(problemsOf(expr, found, scraped), [], `${name}: ${expr}`)
        for (const [, label] of `${summary} ${description}`.matchAll(/\$labels\.(\w+)/g)) {
          assert.include(/by \(([^)]*)\)/.exec(expr)![1]!.split(", "), label, name)
        }
      }
    }))

  it("have a time, a severity, a threshold, a reason and a section of the handbook", () => {
    const sections = new Map(
      page("docs/operating.md").split(/^## /m).map((section) => [
        section.split("\n")[0]!.toLowerCase().replaceAll(/[^\w\- ]/g, "").replaceAll(" ", "-"),
        section
      ])
    )
    assert.strictEqual(new Set(rules.map(({ name }) => name)).size, rules.length)
    for (const { description, expr, name, severity, summary, wait } of rules) {
      assert.match(wait, /^\d+m$/, name)
      assert.match(expr, / (?:>|==) /, name)
      assert.include(["page", "warning"], severity, name)
      assert.match(summary, /^'.+'$/, name)
      const [, reason, anchor] = /^(.{40,}) Handbook: docs\/operating\.md#([\w-]+)$/.exec(description) ??
        assert.fail(name)
      assert.notInclude(reason, "Handbook")
      // The section exists, and says that it is for this alert.
      assert.include(sections.get(anchor!) ?? "", `\`${name}\``, `${name}: #${anchor}`)
    }
  })
})

describe("the check of an expression", () => {
  it.effect("finds a wrong name, label, value and bound, and nothing else", () =>
    Effect.gen(function*() {
      const found = yield* exported
      const right = `sum by (instance, result) (rate(effect_connection_pool_connects{result!="failed"}[5m])) > 0.5`
      const problems = (expr: string) => problemsOf(expr, found, scraped)
      assert.deepStrictEqual(problems(right), [])
      assert.deepStrictEqual(problems(right.replace("connects", "connects_total")), [
        "no metric effect_connection_pool_connects_total"
      ])
      assert.deepStrictEqual(problems(right.replace("result!=", "outcome!=")), [
        "effect_connection_pool_connects has no label outcome"
      ])
      assert.deepStrictEqual(problems(right.replace(", result)", ", reason)")), [
        "effect_connection_pool_connects has no label reason"
      ])
      assert.deepStrictEqual(problems(right.replace("\"failed\"", "\"broken\"")), [
        "effect_connection_pool_connects has no result broken"
      ])
      assert.deepStrictEqual(problems(right.replace("!=\"failed\"", "=~\"failed|broken\"")), [
        "effect_connection_pool_connects has no result broken"
      ])
      assert.deepStrictEqual(problems(right.replace("rate(", "ratio(")), ["no metric ratio"])
      // Prometheus writes a bound that is a whole number in another way than the exporter.
      const bucket = `rate(db_client_connection_wait_time_bucket{le="0.1"}[5m])`
      assert.deepStrictEqual(problems(bucket), [])
      assert.deepStrictEqual(problems(bucket.replace("0.1", "0.2")), [
        "db_client_connection_wait_time_bucket has no le 0.2"
      ])
      assert.deepStrictEqual(problems(bucket.replace("0.1", "1")), [
        "db_client_connection_wait_time_bucket: le 1 is a whole number"
      ])
      assert.isTrue(matches(".+/(writer|readers)", "app/writer"))
      assert.isFalse(matches("write", "app/writer"))
    }))
})
