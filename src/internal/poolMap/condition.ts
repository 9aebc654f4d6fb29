/** What the map can see of the pools that are its values. */
import { Predicate } from "effect"
import * as Door from "../pool/door.ts"
import type { Condition } from "./state.ts"

/**
 * Makes a function that tells the condition of a value: of a `ConnectionPool`, or of a value with `sides`, such as a
 * `SqlitePool`. A value of another kind is always idle.
 */
export const conditionOf = (value: unknown): () => Condition => {
  const doors = doorsOf(value)
  return () => {
    let result: Condition = "idle"
    for (const door of doors) {
      const condition = door.condition()
      // A database of which one side is shut down can do only a part of its work.
      if (condition === "closed") return "closed"
      if (condition === "in use") result = "in use"
    }
    return result
  }
}

const doorsOf = (value: unknown): ReadonlyArray<Door.Door> => {
  if (!Predicate.isObject(value)) return []
  const door = Door.of(value)
  if (door !== undefined) return [door]
  const { sides } = value as { readonly sides?: unknown }
  if (!Predicate.isObject(sides)) return []
  return Object.values(sides).flatMap((side) => (Predicate.isObject(side) ? Door.of(side) : undefined) ?? [])
}

/** Guards a function of the user: a pool whose condition is not known is in use, so that it is not closed under a lease. */
export const guarded = (of: () => unknown) => (): Condition => {
  try {
    const condition = of()
    return condition === "idle" || condition === "closed" ? condition : "in use"
  } catch {
    return "in use"
  }
}
