/** Checks the parameters of a statement: each is stored exactly, or refused before the server gets it. */
import { isParameter } from "@effect/sql-pg/PgTypes"
import { show } from "../../../internal/options/show.ts"
import type { Text } from "../sql/statementText.ts"

/** What is wrong with the parameters; `undefined` if nothing is. */
export const problemOf = ({ parameters }: Text, given: ReadonlyArray<unknown>): string | undefined => {
  if (parameters !== undefined && parameters !== given.length) {
    return `the statement has ${parameters} parameters, but ${given.length} values were given`
  }
  for (let index = 0; index < given.length; index++) {
    const value = given[index]
    const problem = problemOfValue(value) ?? (Array.isArray(value) ? problemOfArray(value) : undefined)
    if (problem !== undefined) return `parameter $${index + 1} ${problem}`
  }
  return undefined
}

const problemOfArray = (values: ReadonlyArray<unknown>): string | undefined => {
  for (let index = 0; index < values.length; index++) {
    const problem = problemOfValue(values[index])
    if (problem !== undefined) return `at position ${index} of its array ${problem}`
  }
  return undefined
}

const problemOfValue = (value: unknown): string | undefined => {
  if (value === undefined) return "is undefined: for NULL, give null"
  if (Object.is(value, -0)) return "is -0, which would be stored as 0: give PgTypes.float8(-0), or 0"
  if (typeof value === "string" && !value.isWellFormed()) return `has half a surrogate pair in it: ${show(value)}`
  if (typeof value === "string" && value.includes("\0")) {
    return "has a zero character in it, which PostgreSQL cannot store"
  }
  // One whose type is named. Of such a type, -0 is what it is.
  return isParameter(value) && typeof value.value === "string" ? problemOfValue(value.value) : undefined
}
