/**
 * Where the time of a lease goes: the time that each step adds, and the functions in which it is spent.
 *
 *     node bench/profile.ts [--short]
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { cases } from "./cases/index.ts"
import { everybody } from "./contenders/index.ts"
import { effort } from "./harness/effort.ts"
import { inProcesses } from "./harness/task.ts"
import { ladders, ladderTable } from "./report/ladder.ts"
import { surroundings } from "./report/record.ts"
import { readShares, sharesTable } from "./report/shares.ts"

const { values: flags } = parseArgs({
  options: {
    /** Does little of everything, to see that it runs. */
    short: { type: "boolean", default: false }
  }
})

const folders = { library: undefined, before: undefined }
const all = cases(await everybody(folders), effort(flags.short), folders)
const find = (name: string) => all.find((one) => one.name === name)!

const exactly = (names: Iterable<string>): string => `^(${Array.from(new Set(names)).join("|")})$`

console.log(`${surroundings}\n`)

const steps = ladders.flatMap(({ steps }) => steps.map(({ name }) => name))
const alone = await inProcesses(find("alone"), { contenders: exactly(steps), isShort: flags.short, folders })
for (const ladder of ladders) console.log(`${ladder.title}\n\n${ladderTable(ladder, alone)}\n`)

/** The contestants whose profile is taken. Each runs alone, so that all samples are its own. */
const details = [
  { case: "alone", contender: "ours: use" },
  { case: "alone", contender: "ours: useSync" },
  { case: "crowd-microtask", contender: "ours: use" },
  { case: "line-10k", contender: "ours: use" }
]

for (const { case: name, contender } of details) {
  const one = find(name)
  const folder = mkdtempSync(join(tmpdir(), "bench-profile-"))
  try {
    await inProcesses(one, { contenders: exactly([contender]), isShort: flags.short, folders }, [
      "--min-semi-space-size=32",
      "--max-semi-space-size=32",
      "--cpu-prof",
      "--cpu-prof-interval=200",
      `--cpu-prof-dir=${folder}`
    ])
    console.log(`${contender}, ${one.title}\n\n${sharesTable(readShares(folder))}\n`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
