/** What the garbage collector leaves. */
import { Effect } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

setFlagsFromString("--expose-gc")

/** Collects all garbage. */
export const collect = runInNewContext("gc") as () => void

/** Those that are alive in the end. Not more than `enough` of them are not waited for. */
export const alive = <A extends { readonly ref: WeakRef<object> }>(all: ReadonlyArray<A>, enough = 0) =>
  Effect.gen(function*() {
    const left = () => all.filter(({ ref }) => ref.deref() !== undefined)
    // What is alive in a turn stays so until its end, and a session takes a while to close.
    for (let turn = 0; turn < 200 && left().length > enough; turn++) {
      yield* Effect.promise(() => new Promise((resolve) => void setTimeout(resolve, 2)))
      collect()
    }
    return left()
  })
