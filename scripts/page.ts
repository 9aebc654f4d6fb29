/**
 * Makes the page of the inspector: strips the types of `src/inspector/page`, and writes its parts as text into a module, so
 * that neither the package nor a bundle of it has to find a file.
 *
 *     npm run page
 *     node scripts/page.ts --check     only says whether the module is the one of its sources
 */
import { readFileSync, writeFileSync } from "node:fs"
import { stripTypeScriptTypes } from "node:module"

const folder = "src/inspector/page/"
const target = "src/inspector/internal/document.ts"

/** In this order: each uses what those before it declare. */
const scripts = ["elements.ts", "charts.ts", "panels.ts", "live.ts"]

const read = (file: string): string => readFileSync(folder + file, "utf8")

/** Types become spaces, which nobody needs in the page. */
const code = scripts
  .map((file) => stripTypeScriptTypes(read(file)))
  .join("\n")
  .replaceAll(/[ \t]+$/gm, "")
  .replaceAll(/\n{2,}/g, "\n")

const parts = {
  markup: read("index.html"),
  style: read("page.css"),
  script: `"use strict";{\n${code}\n}`
}

const lines = Object.entries(parts).map(([name, text]) => `export const ${name} = ${JSON.stringify(text)}\n`)
const text = `/** The parts of the page. Made by \`npm run page\` from \`${folder}\`: change those. */\n${
  lines.join("")
}`

if (!process.argv.includes("--check")) writeFileSync(target, text)
else if (readFileSync(target, "utf8") !== text) {
  console.error(`${target} is not the page of ${folder}: run npm run page`)
  process.exitCode = 1
}
