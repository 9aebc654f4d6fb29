import type { Contender, OpenOptions, Pool } from "../contenders/contender.ts"
import { type Contestant, type Counts, served } from "../harness/case.ts"
import { wallClock, type Watch } from "../harness/watch.ts"

/** A contender that does one kind of work. */
export interface Work {
  readonly contender: Contender
  readonly load?: string | undefined
  readonly options: OpenOptions
  /** The number by which the cost of a round is divided. */
  readonly units: number
  readonly expected: Counts
  readonly clock?: (() => Watch) | undefined
  /** Makes the pool ready for all rounds; the way to undo it. Default: nothing. */
  readonly prepare?: ((pool: Pool) => Promise<() => void>) | undefined
  /** Does the work of one round under the watch. Without counts, each use of a connection is a caller served. */
  readonly round: (pool: Pool, watch: Watch) => Promise<Counts | void>
}

export const contestant = (
  { clock = wallClock, contender, expected, load, options, prepare, round, units }: Work
): Contestant => ({
  name: contender.name,
  load,
  expected,
  open: async () => {
    const pool = await contender.open(options)
    const undo = await prepare?.(pool)
    return {
      round: async () => {
        const { uses } = pool.ledger
        const watch = clock()
        const counts = await round(pool, watch)
        return {
          cost: watch.nanos() / units,
          counts: counts ?? served(pool.ledger.uses - uses)
        }
      },
      close: async () => {
        undo?.()
        await pool.close()
      }
    }
  }
})
