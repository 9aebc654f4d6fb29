/**
 * Writes costs as JSON. JSON has no infinity, which is the cost of uses that did not happen, so it is written as a
 * text.
 */
export const toJson = (value: unknown, space?: number): string =>
  JSON.stringify(value, (_, part: unknown) => part === Infinity ? "starved" : part, space)

/** Reads what `toJson` has written. */
export const fromJson = <A>(text: string): A =>
  JSON.parse(text, (_, part: unknown) => part === "starved" ? Infinity : part) as A
