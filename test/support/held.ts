/** Statements that stay in the middle of SQLite, in a thread, until a test lets them go on. */
import { Effect } from "effect"
import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { FunctionsModule } from "../../src/sqlite/internal/options/functions.ts"
import { folder } from "./files.ts"

/** The module with the SQL functions of the tests, as `threads.ts` bundles it. */
export const functionsModule = new URL("../../.generated/threads/sqlFunctions.mjs", import.meta.url)

/** The same functions, and no aggregates. */
export const withoutAggregates = new URL("./programs/sqlFunctionsAlone.ts", import.meta.url)

/** The function of held statements, for a connection that is opened without a pool. */
export const withHeld: FunctionsModule = {
  href: functionsModule.href,
  found: [{
    arity: 1,
    deterministic: false,
    directOnly: false,
    index: undefined,
    kind: "functions",
    name: "held",
    safeIntegers: false
  }]
}

const pause = Effect.callback<void>((resume) => {
  setTimeout(() => resume(Effect.void), 2)
})

/** Waits in real time until something is true, whatever the clock of the test says. */
export const soon = (isTrue: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => isTrue() ? Effect.void : Effect.andThen(pause, soon(isTrue)))

/** A statement that waits. At the end of the scope it goes on, because its thread would never end. */
export const heldStatement = Effect.gen(function*() {
  const path = join(yield* folder, "gate")
  const letGo = Effect.sync(() => writeFileSync(`${path}.go`, ""))
  yield* Effect.addFinalizer(() => letGo)
  return {
    sql: `select held('${path}') as a`,
    /** Ends when the statement is in the middle of SQLite. */
    hasBegun: soon(() => existsSync(`${path}.begun`)),
    isBegun: () => existsSync(`${path}.begun`),
    letGo
  }
})
