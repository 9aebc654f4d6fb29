/** Node 26, on which the cases that tell the most are measured as well. */
import { execFileSync } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

export interface OtherNode {
  readonly path: string
  readonly versions: Readonly<Record<"node" | "v8" | "sqlite", string>>
}

/** As `npm run runtimes:install` installs it. None where it cannot be had. */
export const node26 = (): OtherNode | undefined => {
  const path = fileURLToPath(new URL("../../runtimes/node_modules/.bin/node", import.meta.url))
  if (!existsSync(path)) return undefined
  const printed = execFileSync(path, ["--print", "JSON.stringify(process.versions)"], { encoding: "utf8" })
  const { node, sqlite, v8 } = JSON.parse(printed) as OtherNode["versions"]
  return { path, versions: { node, v8, sqlite } }
}

/** What differs most from one Node to the next, or matters most to users. */
export const keyCases =
  /^(?:alone|crowd-microtask|line-10k|heap-waiter|point-reads|writes-\w+|mixed-\w+|traced-\w+|start|idle-databases)$/

/** Two processes for each case, so that the whole benchmark stays under 25 minutes. */
export const processesThere = 2
