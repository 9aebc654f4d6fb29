import { isDuration } from "../marks.ts"

/** The text of a value in a message. Never throws. */
export const show = (value: unknown): string => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value.length <= 100 ? value : `${value.slice(0, 100)}...`)
    case "bigint":
      return `${value}n`
    case "function":
      return "a function"
    case "object":
      return value === null ? "null" : showObject(value)
    default:
      return String(value)
  }
}

const showObject = (value: object): string => {
  try {
    if (Array.isArray(value)) return "an array"
    if (isDuration(value)) return String(value)
    const name: unknown = value.constructor?.name
    return typeof name === "string" && name !== "" && name !== "Object" ? `an object (${name})` : "an object"
  } catch {
    return "an object"
  }
}
