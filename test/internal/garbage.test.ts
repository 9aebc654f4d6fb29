/** What has ended must be garbage at once. If it is kept alive by what comes later, the garbage collector copies it again and again. */
import { assert, describe, it } from "@effect/vitest"
import { getHeapSpaceStatistics } from "node:v8"
import { Recorder } from "../../src/internal/pool/recorder.ts"
import { Statements } from "../../src/internal/pool/statements.ts"
import { ControlDeadlines } from "../../src/postgres/internal/connection/controlDeadlines.ts"
import { Outstanding, Pending } from "../../src/sqlite/internal/worker/pending.ts"
import { collect } from "../support/garbage.ts"

/** Counts the bytes that survive twice, and so become old. */
const watchOld = () => {
  const used = () => getHeapSpaceStatistics().find(({ space_name }) => space_name === "old_space")!.space_used_size
  let last = used()
  let bytes = 0
  return {
    look: () => {
      const now = used()
      // It shrinks when all garbage is collected.
      bytes += Math.max(now - last, 0)
      last = now
    },
    megabytes: () => bytes / 2 ** 20
  }
}

const uses = 100_000
/** Each use holds a kilobyte: all of them hold a hundred megabytes. */
const kilobyte = () => Array.from({ length: 128 }, () => 0)

type Begin = (payload: object) => () => void

/** Begins and ends uses, some of them at the same time. Returns how many megabytes of what they held became old. */
const aged = (atTheSameTime: number, begin: Begin): number => {
  const ends: Array<() => void> = []
  for (let place = 0; place < atTheSameTime; place++) ends.push(begin(kilobyte()))
  // What is in progress now is old from now on.
  collect()
  const old = watchOld()
  for (let use = 0; use < uses; use++) {
    const place = use % atTheSameTime
    ends[place]!()
    ends[place] = begin(kilobyte())
    if (use % 1000 === 0) old.look()
  }
  for (const end of ends) end()
  return old.megabytes()
}

const kinds: Record<string, () => Begin> = {
  "runs of statements": () => {
    const recorder = new Recorder({ lease: undefined, statements: new Statements() }, {
      now: () => 0,
      ended: undefined
    })
    return (payload) => {
      const run = Object.assign(recorder.start("select"), { payload })
      return () => recorder.finish(run)
    }
  },
  "deadlines of a session": () => {
    const deadlines = new ControlDeadlines()
    return (payload) => {
      const late = deadlines.add(60_000, () => assert.isDefined(payload))
      return () => deadlines.remove(late)
    }
  },
  "requests of a worker": () => {
    const out = new Outstanding()
    let next = 0
    return (payload) => {
      const id = next++ % 256
      out.add(
        id,
        new Pending({
          receiver: payload as never,
          operation: "execute",
          description: "select",
          make: () => assert.fail("it is not sent"),
          mayStore: false,
          isAhead: false,
          isTimed: false
        })
      )
      return () => out.remove(id)
    }
  }
}

describe("uses that have ended are garbage at once", () => {
  for (const [kind, begin] of Object.entries(kinds)) {
    for (const atTheSameTime of [1, 3, 20]) {
      it(`${kind}, ${atTheSameTime} at the same time`, () => {
        assert.isBelow(aged(atTheSameTime, begin()), 5)
      })
    }
  }
})
