/** The numbers of shared reads: data. Each read that was sent is counted in one of the others when it has ended. */

export class Numbers {
  sent = 0
  /** With rows, or with an error that is the caller's. */
  answered = 0
  /** Their callers were interrupted. */
  abandoned = 0
  // These ran again on a connection of their own:
  /** They would have written. */
  refused = 0
  /** They took too long. */
  late = 0
  /** Their connection was lost, or another reason of the connection. */
  lost = 0
}
