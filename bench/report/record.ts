/** What was measured, for programs: every round, and on what. */
import { execFileSync } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { cpus, release, totalmem } from "node:os"
import { dirname } from "node:path"
import { toJson } from "../harness/json.ts"
import type { OtherNode } from "../harness/otherNode.ts"
import { summarize } from "../harness/summary.ts"
import { fsyncMicros } from "./disk.ts"
import type { Outcome, Verdict } from "./tables.ts"

/** What came out on one Node. */
export interface Results {
  readonly outcomes: ReadonlyArray<Outcome>
  readonly verdicts: ReadonlyArray<Verdict>
}

/** What came out on another Node than the one of the record. */
export interface OtherResults extends Results {
  readonly versions: OtherNode["versions"]
}

export const writeRecord = (
  file: string,
  isShort: boolean,
  results: Results,
  others: ReadonlyArray<OtherResults>,
  /** Who did not take part, and why. */
  missing: string | undefined
): void => {
  const record = {
    date: new Date().toISOString(),
    commit: commit(),
    isShort,
    machine,
    versions,
    missing,
    ...recorded(results),
    otherNodes: others.map(({ versions, ...results }) => ({ versions, ...recorded(results) }))
  }
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, `${toJson(record, 1)}\n`)
}

const recorded = ({ outcomes, verdicts }: Results) => ({
  cases: outcomes.map(({ case: { contestants: _, ...about }, measured }) => ({
    ...about,
    contestants: measured.map((entry) => ({ ...entry, ...summarize(entry.costs) }))
  })),
  goals: verdicts.map(({ atMost, floor, goal, ratio, reached }) => ({
    ...goal,
    ...ratio,
    atMost,
    stated: goal.atMost,
    reached,
    floorRatio: floor?.median
  }))
})

/** What was checked out, and whether it was changed since. */
const commit = (): string | undefined => {
  try {
    return execFileSync("git", ["describe", "--always", "--dirty"], { cwd: import.meta.dirname, encoding: "utf8" })
      .trim()
  } catch {
    return undefined
  }
}

const machine = {
  processor: cpus()[0]?.model,
  processors: cpus().length,
  memoryBytes: totalmem(),
  fsyncMicros: fsyncMicros(),
  system: `${process.platform} ${release()} ${process.arch}`
}

const require = createRequire(import.meta.url)

const versionOf = (name: string): string => (require(`${name}/package.json`) as { readonly version: string }).version

const versions: Readonly<Record<string, string>> = {
  node: process.versions.node,
  v8: process.versions.v8,
  sqlite: process.versions["sqlite"]!,
  effect: versionOf("effect"),
  "@effect/sql-sqlite-node": versionOf("@effect/sql-sqlite-node"),
  "@effect/sql-pg": versionOf("@effect/sql-pg"),
  ...(require("../package.json") as { readonly dependencies: Readonly<Record<string, string>> }).dependencies
}

/** On what, in one line. */
export const surroundings = `node ${versions["node"]}, effect ${versions["effect"]}, ` +
  `${machine.processors} x ${machine.processor}, ${machine.system}, ${machine.fsyncMicros} us for one fsync`
