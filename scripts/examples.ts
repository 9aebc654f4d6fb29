/** Runs the examples whose names are given, or all of them, one after the other. */
import { spawnSync } from "node:child_process"
import { readdirSync } from "node:fs"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"

const folder = fileURLToPath(new URL("../examples", import.meta.url))
const all = readdirSync(folder).filter((file) => file.endsWith(".ts")).map((file) => basename(file, ".ts")).toSorted()
const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !all.includes(name))
if (unknown.length > 0) {
  console.error(`no such example: ${unknown.join(", ")}; there are ${all.join(", ")}`)
  process.exit(1)
}

/** For those that would go on for long. */
const flags: Readonly<Record<string, ReadonlyArray<string>>> = { "operator-view": ["--seconds", "5"] }

for (const name of wanted.length > 0 ? wanted : all) {
  console.log(`\n# ${name}\n`)
  const { status } = spawnSync(process.execPath, [join(folder, `${name}.ts`), ...(flags[name] ?? [])], {
    stdio: "inherit"
  })
  if (status !== 0) {
    console.error(`the example ${name} has failed`)
    process.exit(1)
  }
}
