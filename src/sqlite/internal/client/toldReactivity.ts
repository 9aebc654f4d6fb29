/** Tells Effect's `Reactivity` of commits. */
import { Effect, Pull, type Scope } from "effect"
import type { Reactivity } from "effect/reactivity/Reactivity"
import type { Commits } from "../file/commits.ts"
import type { Pool } from "../file/sides.ts"
import { begin } from "./commitStream.ts"

export interface Options {
  readonly commits: Commits
  readonly readers: Pool
  readonly reactivity: Reactivity
  /** The key of a table. */
  readonly keyOf: (table: string) => unknown
}

/** Invalidates the keys of the tables of each commit, for the current scope. */
export const tell = Effect.fnUntraced(
  function*({ commits, keyOf, reactivity, readers }: Options): Effect.fn.Return<void, never, Scope.Scope> {
    // In this order, a table that is made meanwhile is in one of the two.
    const pull = yield* begin(commits)
    let all: ReadonlyArray<string> = []
    const readNames = Effect.ignore(Effect.map(
      readers.use((reader) => reader.values("select name from sqlite_schema where type = 'table'"), {
        label: "observe"
      }),
      (rows) => {
        all = rows.map(([name]) => String(name))
      }
    ))
    yield* readNames
    const once = Effect.gen(function*() {
      for (const { isSchemaChanged, tables } of yield* pull) {
        // A table that was dropped or renamed is among the old names.
        const before = isSchemaChanged ? all : []
        if (isSchemaChanged) yield* readNames
        const names = new Set([...(tables ?? []), ...before, ...(isSchemaChanged ? all : [])])
        reactivity.invalidateUnsafe(Array.from(names, keyOf))
      }
    })
    yield* Effect.forkScoped(Pull.catchDone(Effect.forever(once), () => Effect.void))
  }
)
