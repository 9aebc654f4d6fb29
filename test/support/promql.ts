/** Reads what expressions of Prometheus ask for, and what an exporter prints. */

/** The labels of a metric with their values, and the name that it has before `_bucket`, `_sum` or `_count` is added. */
export interface Series {
  readonly family: string
  readonly labels: ReadonlyMap<string, ReadonlySet<string>>
}

/** What an exporter prints, by the names that can be asked for. */
export type Exported = ReadonlyMap<string, Series>

/** Reads the text format of Prometheus. */
export const exportOf = (text: string): Exported => {
  const histograms = new Set(Array.from(text.matchAll(/^# TYPE (\w+) histogram$/gm), ([, name]) => name!))
  const found = new Map<string, { readonly family: string; readonly labels: Map<string, Set<string>> }>()
  for (const [, name, labels] of text.matchAll(/^([a-zA-Z_:][\w:]*)\{(.*)\} \S+$/gm)) {
    const family = name!.replace(/_(?:bucket|sum|count)$/, "")
    const series = found.get(name!) ?? { family: histograms.has(family) ? family : name!, labels: new Map() }
    found.set(name!, series)
    for (const [, label, value] of labels!.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      series.labels.set(label!, (series.labels.get(label!) ?? new Set<string>()).add(value!))
    }
  }
  return found
}

/** One metric in an expression, with its matchers. */
export interface Selector {
  readonly metric: string
  readonly matchers: ReadonlyArray<{ readonly label: string; readonly operator: string; readonly value: string }>
}

const functions = new Set(["sum", "max", "min", "avg", "count", "rate", "increase", "histogram_quantile"])
const words = new Set(["and", "or", "unless"])

/** The labels by which an expression sums or joins. */
const groupedBy = (expr: string): ReadonlyArray<string> =>
  Array.from(expr.matchAll(/\b(?:by|on) \(([^)]*)\)/g), ([, labels]) => labels!.split(", ")).flat()

/** Every name in an expression that is not a function, a word or a label. */
export const selectorsOf = (expr: string): ReadonlyArray<Selector> => {
  const bare = expr.replaceAll(/\b(?:by|on) \([^)]*\)/g, "")
  return Array.from(
    bare.matchAll(/([a-zA-Z_:][\w:]*)(\s*\()?(?:\{((?:[^}"]|"[^"]*")*)\})?(?:\[[^\]]*\])?/g),
    ([, name, call, matchers]) => ({ name: name!, isCall: call !== undefined, matchers: matchers ?? "" })
  ).filter(({ isCall, name }) => !words.has(name) && !(isCall && functions.has(name))).map(({ matchers, name }) => ({
    metric: name,
    matchers: Array.from(matchers.matchAll(/(\w+)(=~|!~|!=|=)"([^"]*)"/g), ([, label, operator, value]) => ({
      label: label!,
      operator: operator!,
      value: value!
    }))
  }))
}

/** Whether a pattern fits all of a value, as in a matcher. */
export const matches = (pattern: string, value: string): boolean => new RegExp(`^(?:${pattern})$`).test(value)

/** What an expression asks for and nobody prints. `added` are labels that every metric gets later. */
export const problemsOf = (expr: string, exported: Exported, added: ReadonlyArray<string>): ReadonlyArray<string> =>
  selectorsOf(expr).flatMap(({ matchers, metric }) => {
    const series = exported.get(metric)
    if (series === undefined) return [`no metric ${metric}`]
    const has = (label: string) => added.includes(label) || series.labels.has(label)
    const labels = groupedBy(expr).concat(matchers.map(({ label }) => label))
    const missing = Array.from(
      new Set(labels.filter((label) => !has(label))),
      (label) => `${metric} has no label ${label}`
    )
    const wrong = matchers.flatMap(({ label, operator, value }) => {
      const values = Array.from(series.labels.get(label) ?? [])
      if (values.length === 0 || value.startsWith("$")) return []
      if (label === "le" && /^\d+$/.test(value)) return [`${metric}: le ${value} is a whole number`]
      const wanted = operator.endsWith("~") && !value.includes("(") ? value.split("|") : [value]
      const fits = (one: string) => values.some((value) => operator.endsWith("~") ? matches(one, value) : one === value)
      return wanted.filter((one) => !fits(one)).map((one) => `${metric} has no ${label} ${one}`)
    })
    return missing.concat(wrong)
  })
