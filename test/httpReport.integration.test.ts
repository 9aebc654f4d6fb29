import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { flags, path, withService } from "./support/httpService.ts"

/** Asks for reports, and for `/health` meanwhile. Gives what it says, and how it ended. */
const ask = (url: string, ...options: ReadonlyArray<string>) =>
  new Promise<string>((resolve) =>
    execFile(
      process.execPath,
      [...flags, path("../../examples/http-service/report.ts"), "--url", url, "--clients", "5", ...options],
      (error, stdout, stderr) => resolve(`${stdout}${stderr}exit code ${error === null ? 0 : String(error.code)}`)
    )
  )

const claims = (output: string) => output.split("\n").filter((line) => /^[✓✗]/.test(line))

describe("a report of the HTTP service that reads all notes", () => {
  it(
    "leaves /health alone on a worker, and stops it in process",
    () =>
      withService({ NOTES_EXERCISES: "on" }, async ({ lines, url }) => {
        // However busy the machine is, the one is compared with the other.
        const output = await ask(url, "--notes", "60000", "--reports", "2", "--at-most", "600000", "--compare")
        assert.deepStrictEqual(claims(output), [
          "✓ /health answered within 600000 ms at p99 while reports ran on a worker",
          "✓ in process, it took at least four times as long in the median"
        ], output)
        assert.match(output, /exit code 0$/)
        // The words of the notes, counted.
        const words = await (await fetch(`${url}/report`)).json() as ReadonlyArray<unknown>
        assert.deepStrictEqual(words.slice(0, 3), ["about", "day", "in"].map((word) => ({ word, times: 60_000 })))
        const stalls = lines.filter((line) =>
          /slow statement: "with .*nothing else in this process could run/.test(line)
        )
        assert.isAbove(stalls.length, 0, "the report in process is warned of")
      }),
    300_000
  )

  it("that takes longer than it may makes the program fail", () =>
    withService({}, async ({ url }) => {
      const output = await ask(url, "--notes", "20000", "--reports", "1", "--at-most", "1", "--compare")
      assert.match(output, /exit code 1$/, output)
    }), 300_000)
})
