/** Why a write is refused, and what to use instead: one text for each thing that only reads. */

/** For a connection that was opened on its own. */
export const ofConnection = "this connection was opened with `readOnly`, so it cannot write"

/** For all connections of a pool that was opened read-only. */
export const ofDatabase = (pool: string): string => `pool "${pool}" was opened read-only, so it cannot write`

export const ofReader = (pool: string): string =>
  `this is a reader of pool "${pool}", which cannot write: use \`write\` or \`transaction\``

export const ofSnapshot = "this snapshot only reads: write outside of it, or use `transaction` in its place"

export const ofTransaction = "this transaction is read-only: leave out `readOnly`"
