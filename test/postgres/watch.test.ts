/** How often the hosts of a database are asked. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { AuthenticationError, ConnectionError, SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { Cluster } from "../../src/postgres/internal/hosts/cluster.ts"
import * as Watch from "../../src/postgres/internal/hosts/watch.ts"

/** How often one host was asked in each of so many minutes, if `failure` is its answer. */
const askedIn = (minutes: number, failure: () => SqlError) =>
  Effect.gen(function*() {
    const cluster = new Cluster([{ host: "db", port: 5432, path: undefined }], {
      maxLagMillis: Infinity,
      mayFallBack: true,
      tell: () => {},
      fence: () => {}
    })
    let asked = 0
    const open = () =>
      Effect.suspend(() => {
        asked++
        return Effect.fail(failure())
      })
    yield* Watch.make({ cluster, open, intervalMillis: 500, timeoutMillis: 3000 })
    const counts: Array<number> = []
    for (let minute = 0; minute < minutes; minute++) {
      asked = 0
      yield* TestClock.adjust("1 minute")
      counts.push(asked)
    }
    return counts
  })

const cause = new Error("no")

describe("the watch over hosts", () => {
  it.effect("leaves a host alone that refuses, for longer and longer, and asks one that is away all the time", () =>
    Effect.gen(function*() {
      const refused = () => new SqlError({ reason: new AuthenticationError({ cause, message: "no" }) })
      assert.deepStrictEqual(yield* askedIn(3, refused), [11, 6, 6])
      const away = () => new SqlError({ reason: new ConnectionError({ cause, message: "no" }) })
      const [first = 0, second = 0] = yield* askedIn(2, away)
      assert.isAtLeast(first, 500)
      assert.isAtLeast(second, 500)
    }))
})
