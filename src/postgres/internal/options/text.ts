/** Texts that the server takes. */

/** Whether the server takes a text as it is: one with half a surrogate pair would be changed. */
export const isText = (text: string): boolean => !text.includes("\0") && text.isWellFormed()

/** The rule of an option that is sent to the server. */
export const textRule = {
  kind: "text",
  accepts: (text: string) => text.trim() !== "" && isText(text),
  mustBe: "text that is not empty and has no zero character"
} as const
