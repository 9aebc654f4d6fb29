/**
 * 50 readers beside a writer: how much they read, and how long a read takes, while the writer has a transaction open.
 */
import type { Client, SqliteContender } from "../contenders/sqlite/client.ts"
import type { SqliteContenders } from "../contenders/sqlite/index.ts"
import { type Case, type Round, served } from "../harness/case.ts"
import type { Effort } from "../harness/effort.ts"
import { besideWriter, type Gap, holdMillis } from "../workloads/besideWriter.ts"
import type { ReadLog } from "../workloads/readLog.ts"
import { sqliteContestant } from "./sqliteContestant.ts"

export const besideWriterCases = (who: SqliteContenders, effort: Effort): ReadonlyArray<Case> => {
  const transactions = effort.isShort ? 1 : 5
  const among = (name: string, title: string, gap: Gap): Case => {
    const beside = (contender: SqliteContender<Client>, figures: (log: ReadLog) => Round["cost"]) =>
      sqliteContestant(contender, {
        expected: served(transactions),
        round: async (client) => {
          const log = await besideWriter(client, transactions, gap)
          return { cost: figures(log), counts: served(log.transactions) }
        }
      })
    return {
      name: `beside-writer-${name}`,
      title: `50 readers beside transactions of ${holdMillis} ms, ${title}`,
      unit: "ns",
      reference: "ceiling: fibers",
      ...effort.rounds(3, 1),
      contestants: [
        ...who.clients.map((contender) => beside(contender, (log) => ({ ...log.throughput, ...log.latency }))),
        // They read nothing, so no time can be given.
        ...who.ceilings.map((contender) => beside(contender, (log) => log.throughput))
      ]
    }
  }
  return [
    among("gap0", "one right after the other", "none"),
    among("turn", "a turn of the event loop between them", "turn"),
    among("5ms", "5 ms between them", 5)
  ]
}
