/** The hosts of a database as everybody sees them who knows no database: what they are, and the words for what happens to them. */

/** One host, as it was last seen. */
export interface AnyHost {
  readonly host: string
  readonly role: string
  readonly timeline: number
  readonly isFresh: boolean
  readonly lagBytes: number | undefined
  readonly answeredAgoMillis: number | undefined
  readonly problem: string | undefined
}

/** Something happened to the hosts. */
export type AnyHostEvent =
  /** The primary does not answer, or is none any more. Writes wait. */
  | { readonly _tag: "PrimaryLost"; readonly host: string; readonly problem: string }
  /**
   * There is a primary. `awayMillis`: for how long the one before was known to be lost; where that was not noticed before the new
   * one was found, how long ago it last answered. Not set for the first.
   */
  | {
    readonly _tag: "PrimaryFound"
    readonly host: string
    readonly timeline: number
    readonly awayMillis: number | undefined
  }
  /** A host takes writes, but its timeline is older than `newest`: it is an old primary, and is not used. */
  | { readonly _tag: "OldPrimaryRefused"; readonly host: string; readonly timeline: number; readonly newest: number }
  /** A replica lags behind by more than `maxLag`, or does not answer. It is not read. */
  | { readonly _tag: "ReplicaLost"; readonly host: string; readonly problem: string }
  /** A replica can be read. */
  | { readonly _tag: "ReplicaFound"; readonly host: string }

/** What the log says of an event. */
export const sayingOf = (event: AnyHostEvent): { readonly isWarning: boolean; readonly text: string } => {
  switch (event._tag) {
    case "PrimaryLost":
      return { isWarning: true, text: `the primary ${event.host} is lost, writes wait: ${event.problem}` }
    case "PrimaryFound": {
      const { awayMillis, host, timeline } = event
      const away = awayMillis === undefined ? "" : `, after ${Math.round(awayMillis)} ms without one`
      return { isWarning: false, text: `the primary is ${host} (timeline ${timeline})${away}` }
    }
    case "OldPrimaryRefused": {
      const { host, newest, timeline } = event
      const text = `${host} is not used: it is an old primary (timeline ${timeline}, the newest is ${newest})`
      return { isWarning: true, text }
    }
    case "ReplicaLost":
      return { isWarning: true, text: `the replica ${event.host} is not read: ${event.problem}` }
    case "ReplicaFound":
      return { isWarning: false, text: `the replica ${event.host} can be read` }
  }
}
