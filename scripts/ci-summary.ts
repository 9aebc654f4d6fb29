/** The last line of a run: the figures of the test runner's own reports, on each Node that it ran on, and with threads. */
import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

interface Report {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly success: boolean
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly status: string
    readonly message: string
    readonly assertionResults: ReadonlyArray<{
      readonly fullName: string
      readonly status: string
      readonly failureMessages: ReadonlyArray<string>
    }>
  }>
}

/** The beginning of a message, indented: what failed, and where. */
const shortened = (message: string): string =>
  message.split("\n").slice(0, 15).map((line) => `    ${line.slice(0, 300)}`).join("\n")

let passed = 0
let failed = 0
let isComplete = true
for (const name of ["tests.json", "tests-modes.json", "tests-node26.json"]) {
  const file = fileURLToPath(new URL(`../coverage/${name}`, import.meta.url))
  if (!existsSync(file)) {
    console.log(`there is no report ${name}: that run did not get to its end`)
    isComplete = false
    continue
  }
  const report = JSON.parse(readFileSync(file, "utf8")) as Report
  console.log(`${name}: ${report.numPassedTests} passed, ${report.numFailedTests} failed`)
  for (const { assertionResults, message, name, status } of report.testResults) {
    if (status === "passed") continue
    const tests = assertionResults.filter(({ status }) => status === "failed")
    if (tests.length === 0) tests.push({ fullName: "could not be run", status, failureMessages: [message] })
    for (const { failureMessages, fullName } of tests) {
      console.log(`failed: ${name}: ${fullName}`)
      for (const failure of failureMessages) console.log(shortened(failure))
    }
  }
  passed += report.numPassedTests
  failed += report.numFailedTests
  // A file that cannot be loaded fails, and has no tests to count.
  if (!report.success) isComplete = false
}
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = isComplete && failed === 0 && passed > 0 ? 0 : 1
