/** The checked options of shared reads. */

export interface Settings {
  /** How many connections reads share. */
  readonly max: number
  /** How long the server lets a read run on them. */
  readonly timeoutMillis: number
  /** Whether a read that passes that time is out of its own time too, and does not run again. */
  readonly isOwnTimeout: boolean
  /** How many reads may be on their way on each of them. */
  readonly maxInFlight: number
  /** The functions that may be called besides those of PostgreSQL. */
  readonly functions: ReadonlySet<string>
}
