/** A schema for values that many errors share. */
import { Schema, SchemaTransformation } from "effect"

/**
 * Makes a schema that checks each object once. Callers that time out in the same moment get errors with the same
 * numbers, and to check these again for each error would take more than half of the time of all timeouts.
 */
export const shared = <S extends Schema.Codec<object, unknown>>(
  schema: S,
  expected: string
): Schema.declare<S["Type"]> => {
  const is = Schema.is(schema)
  const seen = new WeakSet<object>()
  return Schema.declare<S["Type"]>(
    (part): part is S["Type"] => {
      if (seen.has(part as object)) return true
      if (!is(part)) return false
      seen.add(part)
      return true
    },
    {
      expected,
      toCodecJson: () => Schema.link<S["Type"]>()(schema, SchemaTransformation.passthrough())
    }
  )
}
