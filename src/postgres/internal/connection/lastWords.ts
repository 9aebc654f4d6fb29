/**
 * What a server, or a pooler, says when it ends a session:
 * https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-ERRORRESPONSE.
 */

/** Whether bytes may end with an error: such a message ends with the end of its last text, and its own. */
export const mayBeLastWords = (bytes: Uint8Array): boolean =>
  // Read by index, because it is asked of everything that arrives.
  bytes[bytes.length - 1] === 0 && bytes[bytes.length - 2] === 0

/** The text of the first error among messages that ends the session. */
export const lastWordsIn = (bytes: Uint8Array): string | undefined => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  while (at + headBytes <= bytes.length) {
    // A length counts itself. Where the bytes begin in the middle of a message, it is any number.
    const end = at + 1 + view.getInt32(at + 1)
    if (end < at + headBytes) return undefined
    const words = bytes[at] === errorResponse ? textOf(bytes.subarray(at + headBytes, end)) : undefined
    if (words !== undefined) return words
    at = end
  }
  return undefined
}

/** The kind of a message, and its length. */
const headBytes = 5

const errorResponse = 0x45

const textOf = (bytes: Uint8Array): string | undefined => {
  const fields = new Map<string, string>()
  for (const field of new TextDecoder().decode(bytes).split("\0")) {
    if (field !== "") fields.set(field[0]!, field.slice(1))
  }
  const message = fields.get("M")
  // Only `V` is never translated. PgBouncer has no `V`.
  const severity = fields.get("V") ?? fields.get("S")
  if (message === undefined || (severity !== "FATAL" && severity !== "PANIC")) return undefined
  const state = fields.get("C")
  return state === undefined ? message : `${message} (SQLSTATE ${state})`
}
