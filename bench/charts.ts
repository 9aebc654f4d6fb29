/** Draws `results/latest.json` into `results/`, or `--json <file>` into `--into <folder>`: the charts of the README. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { fromJson } from "./harness/json.ts"
import { charts } from "./report/charts.ts"
import type { Recorded } from "./report/recorded.ts"

const results = fileURLToPath(new URL("results/", import.meta.url))
const { values: flags } = parseArgs({
  options: {
    json: { type: "string", default: join(results, "latest.json") },
    into: { type: "string", default: results }
  }
})
const record = fromJson<Recorded>(readFileSync(flags.json, "utf8"))
for (const [file, svg] of charts(record)) writeFileSync(join(flags.into, file), `${svg}\n`)
