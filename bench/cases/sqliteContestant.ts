import type { SqliteContender } from "../contenders/sqlite/client.ts"
import { onFile } from "../contenders/sqlite/database.ts"
import type { Contestant, Counts, Round } from "../harness/case.ts"

/** A contender, on a file of its own, that does one kind of work. */
export const sqliteContestant = <A extends { readonly close: () => Promise<void> }>(
  contender: SqliteContender<A>,
  { expected, load, round }: {
    readonly load?: string
    readonly expected: Counts | number
    readonly round: (opened: A) => Promise<Round>
  }
): Contestant => ({
  name: contender.name,
  load,
  expected,
  open: () =>
    onFile(async (filename) => {
      const opened = await contender.open(filename)
      return { round: () => round(opened), close: opened.close }
    })
})
