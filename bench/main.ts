/**
 * The benchmark: compares this library with others, in ratios. See the README beside this file.
 *
 *     node bench/main.ts [--short] [--cases <pattern>] [--contenders <pattern>] [--json <file>]
 *                        [--library <folder>] [--before <folder>] [--node26 <none|key|all>]
 */
import assert from "node:assert/strict"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { cases } from "./cases/index.ts"
import { needsServer } from "./cases/postgres.ts"
import { everybody } from "./contenders/index.ts"
import { whyNoServer } from "./contenders/postgres/server.ts"
import { goals } from "./goals.ts"
import type { Case } from "./harness/case.ts"
import { effort } from "./harness/effort.ts"
import { keyCases, node26, type OtherNode, processesThere } from "./harness/otherNode.ts"
import { inProcesses } from "./harness/task.ts"
import { type OtherResults, type Results, surroundings, writeRecord } from "./report/record.ts"
import { caseTable, contenders, goalTable, judge, type Outcome } from "./report/tables.ts"

const { values: flags } = parseArgs({
  options: {
    /** Does a hundredth of the work, once, to see that everything runs. Its times mean nothing. */
    short: { type: "boolean", default: false },
    /** Only cases whose name matches. */
    cases: { type: "string", default: "" },
    /** Only contenders whose name matches, for a profile. Goals need both sides. */
    contenders: { type: "string", default: "" },
    /** The folder of the build to measure, if it is not `dist`. */
    library: { type: "string" },
    /** The folder of an earlier build, which takes part too. */
    before: { type: "string" },
    /**
     * What is measured on Node 26 as well: nothing, the cases that tell the most, or all that are wanted. Default:
     * "key" for a full run of the build alone, else "none".
     */
    node26: { type: "string" },
    /** The file for the costs of all rounds. If it is not given, only a full run of the build alone is recorded. */
    json: { type: "string" }
  }
})

const isPart = flags.cases !== "" || flags.contenders !== ""
const isTheRecord = !flags.short && !isPart && flags.library === undefined && flags.before === undefined

const there = flags.node26 ?? (isTheRecord ? "key" : "none")
assert.match(there, /^(?:none|key|all)$/, `--node26 is ${there}, but must be none, key or all`)

const folders = { library: flags.library, before: flags.before }
const who = await everybody(folders)
const noServer = await whyNoServer(folders)
const wanted = cases(who, effort(flags.short), folders).filter(({ name }) =>
  new RegExp(flags.cases).test(name) && (noServer === undefined || !needsServer.test(name))
)
console.log(`${surroundings}\n`)
const { whyMissing } = who.sqlite
const missing = [
  ...(whyMissing === undefined
    ? []
    : [`without better-sqlite3, which cannot be loaded (${whyMissing}), and the clients on it`]),
  ...(noServer === undefined ? [] : [`without the cases with PostgreSQL: ${noServer}`])
]
for (const line of missing) console.log(`${line}\n`)

/** Measures, on this Node or on another, and prints what comes of it. */
const measure = async (some: ReadonlyArray<Case>, node?: OtherNode): Promise<Results> => {
  const outcomes: Array<Outcome> = []
  for (const each of some) {
    const one = node === undefined ? each : { ...each, processes: Math.min(each.processes, processesThere) }
    const task = { contenders: flags.contenders, isShort: flags.short, folders }
    const outcome = { case: one, measured: await inProcesses(one, task, undefined, node?.path) }
    outcomes.push(outcome)
    console.log(flags.short ? `${one.name}: ${contenders(outcome)} contenders did their work` : caseTable(outcome))
  }
  const verdicts = flags.short ? [] : judge(goals, outcomes)
  if (verdicts.length > 0) {
    const reached = verdicts.filter((verdict) => verdict.reached).length
    console.log(`${goalTable(verdicts)}\n\n${reached} of ${verdicts.length} goals reached\n`)
  }
  return { outcomes, verdicts }
}

const onNode26 = async (): Promise<ReadonlyArray<OtherResults>> => {
  if (there === "none") return []
  const node = node26()
  if (node === undefined) {
    console.log("without Node 26, which is not installed: npm run runtimes:install\n")
    return []
  }
  const some = wanted.filter(({ name }) => there === "all" || keyCases.test(name))
  console.log(`On Node ${node.versions.node}, with SQLite ${node.versions.sqlite}\n`)
  const results = await measure(some, node)
  return [{ versions: node.versions, ...results }]
}

const results = await measure(wanted)
const others = await onNode26()
const file = flags.json ?? (isTheRecord ? fileURLToPath(new URL("results/latest.json", import.meta.url)) : undefined)
if (file !== undefined) {
  writeRecord(file, flags.short, results, others, missing.length === 0 ? undefined : missing.join("; "))
}
