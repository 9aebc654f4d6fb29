/** The least that commits in groups: whatever is asked for in one turn is one transaction, and is answered after it. */
import { Effect, Exit } from "effect"
import { DatabaseSync } from "node:sqlite"
import type { EffectService } from "./client.ts"
import { insert, type Item, select, type Synchronous } from "./database.ts"
import { synchronousOf } from "./nodeSqlite.ts"

export const floorGroup = (synchronous: Synchronous) => async (filename: string): Promise<EffectService> => {
  const database = new DatabaseSync(filename)
  database.exec(`pragma synchronous = ${synchronous}`)
  const read = database.prepare(select)
  const add = database.prepare(insert)
  const [begin, commit] = [database.prepare("begin immediate"), database.prepare("commit")]
  let asked: Array<{ readonly n: number; readonly answer: (exit: Exit.Exit<void>) => void }> = []
  const flush = () => {
    const group = asked
    asked = []
    if (group.length > 1) begin.run()
    for (const { n } of group) add.run(n)
    if (group.length > 1) commit.run()
    for (const { answer } of group) answer(Exit.void)
  }
  return {
    style: "effect",
    read: (key) => Effect.sync(() => read.get(key) as unknown as Item),
    insert: (n) =>
      Effect.callback<void>((answer) => {
        if (asked.push({ n, answer }) === 1) queueMicrotask(flush)
      }),
    synchronous: synchronousOf(database),
    close: async () => database.close()
  }
}
