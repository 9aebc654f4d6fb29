import { Schema, SchemaTransformation } from "effect"

/**
 * Makes a schema look at each value once, for parts that many values share. Callers who give up in the same moment
 * all get errors with the same numbers, and to go through those again for each would take more than half of what it costs
 * that they give up.
 */
export const shared = <S extends Schema.Codec<object, unknown>>(
  schema: S,
  expected: string
): Schema.declare<S["Type"]> => {
  const is = Schema.is(schema)
  const seen = new WeakSet<object>()
  return Schema.declare<S["Type"]>(
    (part): part is S["Type"] => {
      if (typeof part !== "object" || part === null) return false
      if (seen.has(part)) return true
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
