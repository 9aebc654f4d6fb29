import { assert, describe, it } from "@effect/vitest"
import { setTimeout } from "node:timers/promises"
import { claims, runClient, withService } from "./support/httpService.ts"

const ask = (url: string, ...options: ReadonlyArray<string>) =>
  runClient("report.ts", url, "--clients", "5", ...options)

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

  it(
    "makes the program fail where the service keeps /health waiting for longer than it may",
    () =>
      withService({ NOTES_EXERCISES: "on" }, async ({ url }) => {
        let isOver = false
        // One slow statement after the other, in process, with a pause in which the service gets on.
        const stall = (): Promise<unknown> =>
          isOver
            ? Promise.resolve()
            : fetch(`${url}/exercise/report`, { method: "POST" }).then((response) => response.text())
              .then(() => setTimeout(200)).then(stall)
        const stalling = stall()
        const output = await ask(url, "--notes", "1000", "--reports", "50", "--at-most", "20")
        isOver = true
        await stalling
        assert.deepStrictEqual(claims(output), [
          "✗ /health answered within 20 ms at p99 while reports ran on a worker"
        ], output)
        assert.match(output, /exit code 1$/, output)
      }),
    300_000
  )

  for (const program of ["report.ts", "load.ts"]) {
    it(`says where there is no service, and how to start one (${program})`, async () => {
      const output = await runClient(program, "http://localhost:1")
      assert.include(
        output,
        "no service answers at http://localhost:1: start it first, with npm run example -- http-service"
      )
      assert.match(output, /exit code 1$/, output)
    }, 120_000)
  }
})
