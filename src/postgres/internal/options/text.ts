/** The options that are sent to the server as text. */
import { isText } from "../sql/text.ts"

/** The rule of an option that is sent to the server. */
export const textRule = {
  kind: "text",
  accepts: (text: string) => text.trim() !== "" && isText(text),
  mustBe: "text that is not empty and has no zero character"
} as const
