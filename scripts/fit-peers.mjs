/**
 * Fits packages that were made for a pre-release of Effect to the Effect that is installed: where they import
 * `effect/unstable/sql`, that is `effect/sql` now. Changes nothing else, and nothing that fits already.
 *
 * Runs after an install in a checkout, with whatever Node there is: as npm's script `dependencies`, which npm runs where
 * somebody works on the package, and never for its users. (With `prepare`, npm warns users of a packed file that it has an
 * install script.) Those who need these packages fit them themselves, or take later ones.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const packages = ["@effect/sql-sqlite-node"]

const modules = fileURLToPath(new URL("../node_modules", import.meta.url))

/** The import paths of Effect that are gone, at the end of which stands the path that is there instead. */
const outdated = /(["'])effect\/unstable\/([^"']+)\1/g

/** @param {string} path */
const isInEffect = (path) =>
  existsSync(join(modules, "effect/dist", `${path}.js`)) || existsSync(join(modules, "effect/dist", path, "index.js"))

/** @param {string} folder */
const fit = (folder) => {
  let count = 0
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!/\.(js|ts)$/.test(name)) continue
    const file = join(folder, name)
    const before = readFileSync(file, "utf8")
    const after = before.replaceAll(outdated, (found, quote, path) => {
      if (isInEffect(`unstable/${path}`) || !isInEffect(path)) return found
      count++
      return `${quote}effect/${path}${quote}`
    })
    if (after !== before) writeFileSync(file, after)
  }
  return count
}

for (const name of packages) {
  const folder = join(modules, name)
  if (!existsSync(folder)) {
    console.error(`${name} is not installed: nothing to fit`)
    continue
  }
  const count = fit(folder)
  console.error(
    count === 0
      ? `${name} fits the Effect that is installed: nothing changed`
      : `${name} was made for a pre-release of Effect: ${count} imports of effect/unstable now name what replaced them`
  )
}
