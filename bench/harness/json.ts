/** JSON has no infinity. Here it is the cost of what nobody got, and written so. */
export const toJson = (value: unknown, space?: number): string =>
  JSON.stringify(value, (_, part: unknown) => part === Infinity ? "starved" : part, space)

/** What `toJson` has written. */
export const fromJson = <A>(text: string): A =>
  JSON.parse(text, (_, part: unknown) => part === "starved" ? Infinity : part) as A
