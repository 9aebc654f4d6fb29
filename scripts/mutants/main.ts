/**
 * Changes the source and runs the tests: a change that survives is one that no test notices.
 *
 *     npm run mutants -- [--seed 1] [--size 50] [--fast] [<file> ...]
 *
 * The seed draws a sample of all mutants that StrykerJS makes of the files (by default of all of `src/internal`). First the
 * fast tests run once, each with every mutant that it passes through. A mutant that they do not notice, and whose code runs only
 * while its module is loaded, is then planted alone. At last all other tests run with the mutants that are left (not with
 * `--fast`). By hand, not in CI: see CONTRIBUTING.md.
 */
import { spawn } from "node:child_process"
import { globSync, readFileSync, statSync } from "node:fs"
import { setTimeout } from "node:timers/promises"
import { parseArgs } from "node:util"
import { append, begin, entries, entriesPath, type Mutant, type Outcome } from "./record.ts"
import { draw } from "./sample.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: "string", default: "1" },
    size: { type: "string", default: "50" },
    fast: { type: "boolean", default: false }
  }
})

/** Longer than any test takes, on a machine that is busy. */
const stuckAfterMillis = 180_000
const aloneMillis = 900_000

/** Runs the tests. If a mutant keeps them from going on, it stops them and returns `undefined`. */
const runTests = async (
  env: Readonly<Record<string, string>>,
  args: ReadonlyArray<string>,
  isStuck: (start: number) => boolean
): Promise<number | undefined> => {
  const child = spawn(
    process.execPath,
    ["node_modules/vitest/vitest.mjs", "run", "--config", "scripts/mutants/vitest.config.ts", ...args],
    // A group of its own: a worker that goes round and round can only be killed.
    { detached: true, stdio: "inherit", env: { ...process.env, ...env } }
  )
  const ended = new Promise<number>((resolve) => child.once("exit", (code) => resolve(code ?? 1)))
  const start = Date.now()
  const watch = async (): Promise<number | undefined> => {
    const status = await Promise.race([ended, setTimeout(1000)])
    if (status !== undefined) return status
    if (!isStuck(start)) return watch()
    process.kill(-child.pid!, "SIGKILL")
    await ended
    return undefined
  }
  return watch()
}

/** Runs each test with the mutants that it passes through. Goes on without a mutant that never ends. */
const runAll = async (stage: "fast" | "rest"): Promise<void> => {
  const status = await runTests(
    { MUTANTS_STAGE: stage },
    ["--reporter", "dot"],
    (start) => Date.now() - Math.max(start, statSync(entriesPath).mtimeMs) > stuckAfterMillis
  )
  if (status !== undefined) return
  const last = entries().findLast((entry) => entry.is === "begun")
  if (last?.mutant === undefined) throw new Error(`Without a mutant, this test does not end: ${last?.test}`)
  append({ is: "noticed", outcome: "endless", test: last.test, mutant: last.mutant })
  return runAll(stage)
}

/** The part of a report of Vitest that is used here. */
interface Report {
  readonly testResults: ReadonlyArray<{
    readonly assertionResults: ReadonlyArray<{
      readonly status: string
      readonly title: string
      readonly failureMessages: ReadonlyArray<string>
    }>
  }>
}

/** Runs the fast tests with one mutant planted, or with none. */
const runAlone = async (mutant?: string): Promise<{ readonly outcome: Outcome; readonly test: string }> => {
  const status = await runTests(
    {
      MUTANTS_STAGE: "alone",
      TEST_REPORT: "mutant",
      ...(mutant !== undefined && { __STRYKER_ACTIVE_MUTANT__: mutant })
    },
    ["--reporter", "json"],
    (start) => Date.now() - start > aloneMillis
  )
  if (status === undefined) return { outcome: "endless", test: "the fast tests" }
  if (status === 0) return { outcome: "passed", test: "the fast tests" }
  const failed = (JSON.parse(readFileSync("coverage/mutant.json", "utf8")) as Report).testResults
    .flatMap(({ assertionResults }) => assertionResults).find(({ status }) => status === "failed")
  if (failed === undefined) return { outcome: "failed", test: "the load of a module" }
  const isTimeout = failed.failureMessages.some((message) => message.includes("Test timed out"))
  return { outcome: isTimeout ? "hung" : "failed", test: failed.title }
}

const onOneLine = (text: string): string => text.replaceAll(/\s+/g, " ")

const show = ({ fileName, location: { end, start }, mutatorName, replacement }: Mutant): string => {
  const lines = readFileSync(fileName, "utf8").split("\n").slice(start.line, end.line + 1)
  lines.push(lines.pop()!.slice(0, end.column))
  const original = onOneLine(lines.join("\n").slice(start.column))
  return `${fileName}:${start.line + 1}:${start.column + 1} ${mutatorName}\n  - ${original}\n  + ${
    onOneLine(replacement)
  }`
}

const files = positionals.length > 0 ? positionals : globSync("src/internal/**/*.ts")
const { possible, ...sample } = await draw(files, Number(values.seed), Number(values.size))
begin(sample)
console.log(`seed ${values.seed}: ${sample.mutants.length} of ${possible} mutants in ${files.length} files`)

const noticed = () => entries().filter((entry) => entry.is === "noticed")
const left = () => {
  const ids = new Set(noticed().map(({ mutant }) => mutant))
  return sample.mutants.filter(({ id }) => !ids.has(id))
}

await runAll("fast")
const doubtful = new Set(entries().flatMap((entry) => entry.is === "once" || entry.is === "odd" ? [entry.mutant] : []))
const alone = left().filter(({ id }) => doubtful.has(id))
console.log(`${left().length} are left after the fast tests. ${alone.length} of them are planted alone.`)
const plain = await runAlone()
if (plain.outcome !== "passed") throw new Error(`Without a mutant, this test fails: ${plain.test}`)
for (const { id } of alone) {
  // One after the other: two would take twice as long each.
  // oxlint-disable-next-line no-await-in-loop
  const result = await runAlone(id)
  if (result.outcome !== "passed") append({ is: "noticed", mutant: id, ...result })
}
if (!values.fast) {
  console.log(`${left().length} are left. All other tests run.`)
  await runAll("rest")
}

console.log()
for (const entry of entries()) if (entry.is === "odd") console.log(`fails without a mutant too: ${entry.test}`)
const byId = new Map(sample.mutants.map((mutant) => [mutant.id, mutant]))
for (const { mutant, outcome, test } of noticed()) {
  if (outcome !== "failed") console.log(`noticed, ${outcome} in "${test}": ${show(byId.get(mutant)!)}`)
}
const survivors = left()
for (const mutant of survivors) console.log(`not noticed: ${show(mutant)}`)
console.log(`seed ${values.seed}: ${noticed().length} of ${sample.mutants.length} mutants are noticed`)
process.exitCode = survivors.length === 0 ? 0 : 1
