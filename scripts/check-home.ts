/** Refuses to publish as long as the package names no place where it can be found: its links would lead nowhere. */
import { readFileSync } from "node:fs"

const { bugs, homepage, repository } = JSON.parse(
  readFileSync(new URL("../package.json", import.meta.url), "utf8")
) as {
  readonly repository: { readonly url: string }
  readonly bugs: { readonly url: string }
  readonly homepage: string
}

const placeholders = Object.entries({ repository: repository.url, bugs: bugs.url, homepage })
  .filter(([, url]) => url.includes("example.invalid"))
  .map(([name]) => name)
if (placeholders.length > 0) {
  console.error(
    `package.json: ${placeholders.join(", ")} must name the public home of the project before it is published`
  )
  process.exit(1)
}
