/** Runs one example, by its name; what follows the name is for the example. */
import { readdirSync } from "node:fs"
import { basename } from "node:path"
import { fileURLToPath } from "node:url"

const folder = new URL("../examples/", import.meta.url)
const examples: Record<string, string> = {
  "http-service": "http-service/server.ts",
  "http-load": "http-service/load.ts",
  "http-report": "http-service/report.ts"
}
for (const file of readdirSync(folder)) if (file.endsWith(".ts")) examples[basename(file, ".ts")] = file

const [node, , name, ...flags] = process.argv
const file = name === undefined ? undefined : examples[name]
if (file === undefined) {
  if (name !== undefined) console.error(`there is no example called ${name}`)
  console.error(`npm run example -- NAME, where NAME is one of\n  ${Object.keys(examples).toSorted().join("\n  ")}`)
  process.exit(1)
}
// In this process, so that signals reach it.
const path = fileURLToPath(new URL(file, folder))
process.argv = [node!, path, ...flags]
await import(path)
