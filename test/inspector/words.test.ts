import { assert, describe, it } from "@effect/vitest"
import { PoolEvent, PoolMapEvent } from "effect-connection-pool"
import * as Words from "../../src/inspector/internal/words.ts"

const holder = { connection: 3, label: "report", fiber: 7, heldMillis: 12 }

describe("the words of an inspector", () => {
  it("say what a pool's log says, and what it does not say", () => {
    const slow = PoolEvent.StatementSlow({
      connection: 3,
      text: "select 1",
      tookMillis: 80,
      slowAfterMillis: 50,
      isBlocking: false,
      holder,
      isLogged: false,
      unlogged: 0
    })
    const said: ReadonlyArray<readonly [PoolEvent.PoolEvent, string, string]> = [
      [PoolEvent.Paused(), "info", "paused: callers wait"],
      [
        PoolEvent.AcquireTimedOut({ fiber: 7, waitedMillis: 1000.4 }),
        "warning",
        "a caller got no connection in 1000 ms"
      ],
      [PoolEvent.Refused({ fiber: 7, waiting: 1 }), "warning", "a caller was refused: 1 caller waits already"],
      [PoolEvent.Refused({ fiber: 7, waiting: 9 }), "warning", "a caller was refused: 9 callers wait already"],
      [PoolEvent.Disconnected({ connection: 3, error: undefined }), "quiet", "connection 3 is closed"],
      [PoolEvent.Checked({ passed: 1, failed: 0, busy: 0 }), "quiet", "checked: 1 idle connection works"],
      [PoolEvent.Checked({ passed: 2, failed: 1, busy: 0 }), "warning", "checked: 1 of 3 idle connections do not work"],
      [PoolEvent.Missed({ events: 1 }), "info", "1 event came too fast, and is not here"],
      [PoolEvent.Missed({ events: 5 }), "info", "5 events came too fast, and are not here"],
      [PoolEvent.CheckedOut({ connection: 3, fiber: 7, waitedMillis: 0 }), "quiet", "CheckedOut"]
    ]
    for (const [event, level, text] of said) assert.deepStrictEqual(Words.ofPool(event), { level, text } as never)
    // The log leaves most of them out, and the page none.
    const { level, text } = Words.ofPool(slow)
    assert.strictEqual(level, "warning")
    assert.include(text, "slow statement: \"select 1\" of report")
  })

  it("say what happens to a map of pools", () => {
    const key = "ada"
    const said: ReadonlyArray<readonly [PoolMapEvent.PoolMapEvent<unknown>, string, string]> = [
      [PoolMapEvent.Opened({ key, tookMillis: 12 }), "quiet", "the pool of \"ada\" is open, after 12 ms"],
      [
        PoolMapEvent.OpenFailed({ key, error: new Error("no disk"), tookMillis: 1 }),
        "warning",
        "the pool of \"ada\" could not be opened: Error: no disk"
      ],
      [PoolMapEvent.Evicted({ key, reason: "room" }), "quiet", "the pool of \"ada\" leaves: room"],
      [PoolMapEvent.Closed({ key, error: undefined, tookMillis: 1 }), "quiet", "the pool of \"ada\" is closed"],
      [
        PoolMapEvent.Closed({ key, error: new Error("no disk"), tookMillis: 1 }),
        "warning",
        "the pool of \"ada\" was closed with an error: Error: no disk"
      ],
      [
        PoolMapEvent.CloseOverdue({ key, waitedMillis: 9 }),
        "warning",
        "the pool of \"ada\" is closing for 9 ms already"
      ],
      [PoolMapEvent.TimedOut({ key, fiber: 7, waitedMillis: 9 }), "warning", "a caller of \"ada\" got no pool in 9 ms"],
      [PoolMapEvent.Draining({ leases: 2 }), "info", "shutting down: 2 leases are held"],
      [PoolMapEvent.Interrupting({ holders: [] }), "warning", "shutting down: 0 fibers are interrupted"],
      [PoolMapEvent.ShutDown(), "info", "closed"],
      [PoolMapEvent.Missed({ events: 1 }), "info", "1 event came too fast, and is not here"],
      [PoolMapEvent.Missed({ events: 5 }), "info", "5 events came too fast, and are not here"]
    ]
    for (const [event, level, text] of said) assert.deepStrictEqual(Words.ofMap(event), { level, text } as never)
  })
})
