/**
 * Draws the records in `results/` and writes their figures into the tables of README.md and docs/: of each case the newest.
 * With `--json <file> --into <folder>` it draws another record, and leaves the pages alone.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { fromJson } from "./harness/json.ts"
import { charts } from "./report/charts.ts"
import { withFigures } from "./report/pages.ts"
import { newestOf, type Recorded } from "./report/recorded.ts"

const results = fileURLToPath(new URL("results/", import.meta.url))
const { values: flags } = parseArgs({ options: { json: { type: "string" }, into: { type: "string" } } })
const files = flags.json === undefined
  ? readdirSync(results).filter((file) => file.endsWith(".json")).map((file) => join(results, file))
  : [flags.json]
const record = newestOf(files.map((file) => fromJson<Recorded>(readFileSync(file, "utf8"))))
for (const [file, svg] of charts(record)) writeFileSync(join(flags.into ?? results, file), `${svg}\n`)

/** The pages that quote the record. */
const pages = ["README.md", "docs/performance.md", "docs/postgres.md", "docs/sqlite.md", "docs/workers.md"]

if (flags.json === undefined) {
  for (const file of pages) {
    const path = fileURLToPath(new URL(`../${file}`, import.meta.url))
    writeFileSync(path, withFigures(readFileSync(path, "utf8"), record))
  }
}
