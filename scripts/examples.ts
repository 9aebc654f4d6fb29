/** Runs the examples, one after the other, and compares what they print with what they say they print. */
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { claimOf, difference } from "./printed.ts"

const folder = fileURLToPath(new URL("../examples", import.meta.url))

/** For those that would go on for long. */
const flags: Readonly<Record<string, ReadonlyArray<string>>> = { "operator-view": ["--seconds", "5"] }

for (const file of readdirSync(folder).filter((file) => file.endsWith(".ts")).toSorted()) {
  const name = basename(file, ".ts")
  console.log(`\n# ${name}\n`)
  const { status, stdout } = spawnSync(process.execPath, [join(folder, file), ...(flags[name] ?? [])], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"]
  })
  process.stdout.write(stdout)
  const claim = claimOf(readFileSync(join(folder, file), "utf8"))
  const wrong = claim === undefined
    ? "it does not say what it prints, in a comment at its end"
    : difference(claim, stdout)
  if (status !== 0 || wrong !== undefined) {
    console.error(`the example ${name} has failed: ${status !== 0 ? `exit code ${status}` : wrong}`)
    process.exit(1)
  }
}
