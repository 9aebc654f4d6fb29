/** Draws `results/latest.json` into `results/`: the charts of the README. */
import { readFileSync, writeFileSync } from "node:fs"
import { charts, type Record } from "./report/charts.ts"

const results = new URL("results/", import.meta.url)
const record = JSON.parse(readFileSync(new URL("latest.json", results), "utf8")) as Record
for (const [file, svg] of charts(record)) writeFileSync(new URL(file, results), `${svg}\n`)
