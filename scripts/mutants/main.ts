/**
 * Mutates the source and runs the tests: what survives is what no test notices.
 *
 *     npm run mutants -- [--seed 1] [--lines 60] [<file> ...]
 *
 * Without `--lines`, all of the files is mutated, which takes hours for the whole of `src/internal`. With it, a sample is:
 * runs of ten lines, drawn by the seed, until there are so many. By hand, not in CI: see CONTRIBUTING.md.
 */
import { spawnSync } from "node:child_process"
import { globSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: "string", default: "1" }, lines: { type: "string" } }
})

const runLength = 10
const files = positionals.length > 0 ? positionals : globSync("src/internal/**/*.ts")

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
const random = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
}

const sample = (lines: number): Array<string> => {
  const next = random(Number(values.seed))
  const runs = files.toSorted().flatMap((file) => {
    const length = readFileSync(file, "utf8").split("\n").length
    return Array.from({ length: Math.ceil(length / runLength) }, (_, index) => ({
      order: next(),
      range: `${file}:${index * runLength + 1}-${Math.min((index + 1) * runLength, length)}`
    }))
  })
  return runs.toSorted((one, other) => one.order - other.order).slice(0, Math.ceil(lines / runLength)).map(
    ({ range }) => range
  )
}

const mutate = values.lines === undefined ? files : sample(Number(values.lines))
console.log(`seed ${values.seed}: ${mutate.join(", ")}`)
const { status } = spawnSync(
  process.execPath,
  [
    fileURLToPath(new URL("node_modules/@stryker-mutator/core/bin/stryker.js", import.meta.url)),
    "run",
    "scripts/mutants/stryker.config.json",
    "--mutate",
    mutate.join(",")
  ],
  { stdio: "inherit" }
)
process.exitCode = status ?? 1
