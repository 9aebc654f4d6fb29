/**
 * Checks who imports whom in `src`: values only from a lower floor, types from a public contract too, and no circle at all.
 * What a thread loads imports nothing but `node:`.
 *
 *     node scripts/check-arrows.ts [<folder>]
 *
 * The floors stand below, the lowest first; `docs/architecture.md` draws them. Files of one floor may use each other.
 */
import { globSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"

/** Each floor, by the beginnings of the paths that are on it. The longest beginning counts. */
const floors: ReadonlyArray<ReadonlyArray<string>> = [
  // What leans on the inside of Effect needs nothing of ours.
  ["internal/marks.ts", "internal/runtime.ts", "internal/sharedSchema.ts"],
  ["internal/structures/"],
  ["internal/holder.ts"],
  // What everybody speaks of: errors, events, numbers and the names of metrics, as data.
  [
    "Connection.ts",
    "ConnectionFactory.ts",
    "ConnectionStats.ts",
    "HealthReport.ts",
    "PoolError.ts",
    "PoolEvent.ts",
    "PoolMapError.ts",
    "PoolMapEvent.ts",
    "PoolMapStats.ts",
    "PoolMetrics.ts"
  ],
  ["internal/options/", "PoolConfig.ts"],
  ["internal/pool/"],
  ["internal/poolMap/"],
  ["PoolMap.ts"],
  ["ConnectionPool.ts", "HealthChecker.ts", "InMemoryConnection.ts"],
  ["internal/simulation/", "PoolSimulation.ts"],
  ["TransactionError.ts", "Transaction.ts"],
  ["internal/transaction/"],
  ["internal/sqlClient/"],
  ["Transactor.ts", "SqlClientFactory.ts", "index.ts", "testing/"],
  // The types that everybody speaks of; the public files give them out.
  ["sqlite/internal/contract/"],
  ["sqlite/SqliteReader.ts", "sqlite/SqlitePoolError.ts", "sqlite/internal/errors.ts", "sqlite/internal/failures.ts"],
  ["sqlite/internal/sql/"],
  ["sqlite/internal/options/"],
  ["sqlite/internal/connection/"],
  ["sqlite/internal/worker/"],
  ["sqlite/internal/file/"],
  ["sqlite/internal/client/"],
  ["sqlite/internal/pools.ts"],
  ["sqlite/internal/database.ts"],
  ["sqlite/"],
  ["sqlite-node/internal/"],
  ["sqlite-node/"],
  ["postgres/internal/contract/", "postgres/PgConnection.ts"],
  ["postgres/internal/sql/", "postgres/internal/errors.ts", "postgres/internal/sqlState.ts", "postgres/PgPoolError.ts"],
  ["postgres/internal/connection/"],
  ["postgres/internal/hosts/"],
  ["postgres/internal/lanes/"],
  ["postgres/internal/options/"],
  ["postgres/internal/client/"],
  ["postgres/internal/database.ts"],
  ["postgres/"],
  ["inspector/internal/"],
  ["inspector/"]
]

/** What a thread loads, with all that it imports. A thread with Effect takes several times as long to start. */
const loadedByThreads = ["sqlite/internal/connection/handle.ts", "sqlite/internal/worker/threadMain.ts"]

interface Arrow {
  readonly from: string
  readonly to: string
  readonly isType: boolean
}

const source = process.argv[2] ?? "src"
const files = globSync("**/*.ts", { cwd: source }).toSorted()

/** What stands between `import` or `export` and `from`, and the file that it names. */
const statement = /^(?:import|export)\s+(type\s+)?([^"';]*?)\s*from\s+"(\.[^"]+)"/gm

/** Whether all that is named is marked as a type. */
const areTypes = (names: string): boolean => {
  const listed = /^\{([\s\S]*)\}$/.exec(names.trim())?.[1]
  return listed !== undefined && listed.split(",").every((name) => name.trim() === "" || /^type\s/.test(name.trim()))
}

const arrows: ReadonlyArray<Arrow> = files.flatMap((from) =>
  Array.from(readFileSync(join(source, from), "utf8").matchAll(statement), ([, type, names, path]) => ({
    from,
    to: normalize(join(dirname(from), path!)),
    isType: type !== undefined || areTypes(names!)
  }))
)

const floorOf = (file: string): number => {
  let [best, length] = [-1, 0]
  for (const [floor, beginnings] of floors.entries()) {
    for (const beginning of beginnings) {
      if (file.startsWith(beginning) && beginning.length > length) [best, length] = [floor, beginning.length]
    }
  }
  return best
}

const isPublic = (file: string): boolean => !file.includes("internal/")

const problems: Array<string> = []
for (const file of files) {
  if (floorOf(file) === -1) problems.push(`${file} is on no floor: name it in ${import.meta.filename}`)
}
for (const { from, isType, to } of arrows) {
  if (!files.includes(to)) problems.push(`${from} imports ${to}, which is not there`)
  else if (floorOf(to) > floorOf(from) && !(isType && isPublic(to))) {
    problems.push(`${from} imports ${isType ? "types" : "values"} of ${to}, which is on a higher floor`)
  }
}

/** Finds the circles that a file is in, as the way from it back to it. */
const circles = (): Array<ReadonlyArray<string>> => {
  const found: Array<ReadonlyArray<string>> = []
  const done = new Set<string>()
  const visit = (file: string, way: ReadonlyArray<string>): void => {
    const at = way.indexOf(file)
    if (at >= 0) found.push([...way.slice(at), file])
    if (at >= 0 || done.has(file)) return
    for (const { from, to } of arrows) if (from === file) visit(to, [...way, file])
    done.add(file)
  }
  for (const file of files) visit(file, [])
  return found
}
for (const circle of circles()) problems.push(`a circle: ${circle.join(" -> ")}`)

/** What stands before the name of a package, in an import of values: `from`, `import` alone, or `import(`. */
const ofPackage =
  /^(?:import|export)\s+(?!type\s)(?:([^"';=(]*?)\s*from\s+)?"([^.\n"][^\n"]*)"|\bimport\(\s*"([^.\n"][^\n"]*)"/gm

/** The packages whose values a file imports. */
const packagesOf = (file: string): ReadonlyArray<string> =>
  Array.from(readFileSync(join(source, file), "utf8").matchAll(ofPackage))
    .filter(([, names]) => names === undefined || !areTypes(names))
    .map(([, , from, dynamic]) => (from ?? dynamic)!)

const ofThreads = new Set(loadedByThreads)
for (const file of ofThreads) {
  for (const { from, isType, to } of arrows) if (from === file && !isType) ofThreads.add(to)
  if (!files.includes(file)) problems.push(`${file}, which threads load, is not there`)
  else {
    for (const name of packagesOf(file)) {
      if (!name.startsWith("node:")) {
        problems.push(`${file} imports ${name}, but threads load it: only node: is allowed`)
      }
    }
  }
}

for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exitCode = 1
else console.log(`${arrows.length} imports of ${files.length} files point down, and in no circle`)
