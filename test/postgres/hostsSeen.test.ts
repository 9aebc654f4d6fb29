/** What is told of the hosts, from their answers alone. */
import { assert, describe, it } from "@effect/vitest"
import type { HostEvent } from "../../src/postgres/internal/contract/hosts.ts"
import { Cluster, type Host } from "../../src/postgres/internal/hosts/cluster.ts"

const make = () => {
  const events: Array<HostEvent> = []
  const cluster = new Cluster(
    ["db1", "db2"].map((host) => ({ host, path: undefined, port: 5432 })),
    { maxLagMillis: 1000, mayFallBack: true, tell: (event) => void events.push(event), fence: () => {} }
  )
  const [old, next] = cluster.hosts as [Host, Host]
  const answers = (host: Host, timeline: number, isReplica: boolean, at: number) =>
    cluster.answered(host, { isReplica, position: 1n, timeline }, at)
  answers(old, 1, false, 100)
  answers(next, 1, true, 100)
  return {
    answers,
    cluster,
    next,
    old,
    away: () => events.flatMap((event) => event._tag === "PrimaryFound" ? [event.awayMillis] : []),
    tags: () => events.map(({ _tag }) => _tag)
  }
}

describe("the time without a primary", () => {
  it("begins when its loss is noticed", () => {
    const { answers, away, cluster, next, old } = make()
    cluster.silent(old, "ECONNREFUSED", false, 600)
    answers(next, 1, true, 700)
    answers(next, 2, false, 900)
    assert.deepStrictEqual(away(), [undefined, 300])
  })

  it("begins with its last answer if the new one is found before the loss is noticed", () => {
    const { answers, away, next, old, cluster, tags } = make()
    answers(old, 1, false, 600)
    answers(next, 2, false, 900)
    assert.deepStrictEqual(away(), [undefined, 300])
    // The silence of the old one is no loss any more.
    cluster.silent(old, "ECONNREFUSED", false, 1000)
    assert.notInclude(tags(), "PrimaryLost")
  })

  it("is counted anew each time", () => {
    const { answers, away, cluster, next, old } = make()
    answers(next, 2, false, 300)
    cluster.silent(next, "ECONNREFUSED", false, 400)
    answers(old, 3, false, 450)
    assert.deepStrictEqual(away(), [undefined, 200, 50])
  })
})
