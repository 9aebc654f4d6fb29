/** The last line of a run: the figures of the test runner's own report. */
import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const file = fileURLToPath(new URL("../coverage/tests.json", import.meta.url))
const { numFailedTests, numPassedTests } = existsSync(file)
  ? JSON.parse(readFileSync(file, "utf8")) as { readonly numPassedTests: number; readonly numFailedTests: number }
  : { numPassedTests: 0, numFailedTests: 0 }
console.log(`${numPassedTests} passed, ${numFailedTests} failed`)
