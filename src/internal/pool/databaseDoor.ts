/** What only other modules of this library may ask of a database that has several pools. */
import type { Holder } from "../../PoolError.ts"

/** The log of a database at one moment. */
export interface LogInspection {
  readonly bytes: number
  /** The length above which the log is cut back. */
  readonly limitBytes: number
  /** The leases that keep the log from being cut back, the oldest first. Of many, the first ones. */
  readonly pins: ReadonlyArray<{ readonly holder: Holder | undefined; readonly pinnedMillis: number }>
  /** All leases that do so. */
  readonly pinned: number
}

export interface DatabaseDoor {
  /** The size of the log; `undefined` if the database has none. */
  readonly logBytes: () => number | undefined
  /** The log, with at most `most` pins; `undefined` if the database has none. */
  readonly log: (most: number) => LogInspection | undefined
}

// A property, because a copy of a database keeps it.
const door = Symbol("effect-connection-pool/databaseDoor")

/** Adds the door to a database. */
export const add = <Database extends object>(database: Database, its: DatabaseDoor): Database =>
  Object.assign(database, { [door]: its })

/** The door of a database; `undefined` for an object that has none. */
export const of = (database: object): DatabaseDoor | undefined => (database as { readonly [door]?: DatabaseDoor })[door]
