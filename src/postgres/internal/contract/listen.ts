/** What a listener hears. */

/** A message that somebody has sent with `notify` or `pg_notify`. */
export interface Notification {
  readonly _tag: "Notification"
  readonly channel: string
  /** The text of the message; empty if it has none. */
  readonly payload: string
  /** The process of the server that has sent it. */
  readonly processId: number
}

/**
 * From now on every message arrives that is sent on the channel. It comes first, and again after each lost connection. Read
 * after it what the messages would have told you: what was sent before it may have been missed.
 */
export interface Listening {
  readonly _tag: "Listening"
  readonly channel: string
  /** How long nobody has listened, after a lost connection. Not set for the first. */
  readonly awayMillis?: number | undefined
}

export type ListenEvent = Notification | Listening
