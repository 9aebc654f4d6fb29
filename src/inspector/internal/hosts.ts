/** The hosts of databases that have several, at the present moment. */
import { Effect } from "effect"
import { inOneLine, labelText } from "../../internal/structures/statementText.ts"
import type { Answer, HostView } from "./contract.ts"
import { byRank } from "./ranks.ts"
import type { AnyHost, DatabaseSource } from "./sources.ts"
import { workInStep } from "./steps.ts"

/** The most hosts that are listed, of all databases together. */
const mostHosts = 50

/** All hosts in the order of their databases, or of many those first that somebody should look at. */
export const hostViews = Effect.fnUntraced(function*(
  databases: ReadonlyArray<DatabaseSource>
): Effect.fn.Return<Pick<Answer, "hosts" | "moreHosts">> {
  const all: Array<{ readonly database: string; readonly host: AnyHost }> = []
  let work = 0
  for (const { hosts, name } of databases) {
    if (hosts === undefined) continue
    const seen = yield* hosts
    for (const host of seen) all.push({ database: name, host })
    work += 1 + seen.length
    if (work < workInStep) continue
    work = 0
    yield* Effect.yieldNow
  }
  const listed = all.length <= mostHosts
    ? all
    : byRank(all.map(({ host }) => badness(host))).slice(0, mostHosts).map((index) => all[index]!)
  return { hosts: listed.map(hostView), moreHosts: all.length - listed.length }
})

const badness = ({ isFresh, role }: AnyHost): number =>
  role === "away" ? 3 : role === "refused" ? 2 : role === "primary" || role === "replica" && isFresh ? 0 : 1

const hostView = (
  { database, host: { answeredAgoMillis, host, isFresh, lagBytes, problem, role, timeline } }: {
    readonly database: string
    readonly host: AnyHost
  }
): HostView => ({
  database,
  host: labelText(host),
  role: labelText(role),
  timeline: timeline === 0 ? undefined : timeline,
  isFresh,
  lagBytes,
  answeredAgoMillis,
  problem: problem && inOneLine(problem, mostOfProblem)
})

/** The most characters of the reason why a host is away. */
const mostOfProblem = 500
