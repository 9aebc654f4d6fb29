/** The commits of a database as a stream. */
import { Array as Arr, Cause, Clock, Effect, Latch, type Pull, Stream } from "effect"
import type { Commit } from "../contract/observe.ts"
import type { Author, Commits, Listener } from "../file/commits.ts"
import type { Changes } from "../sql/tables.ts"

/** The number of commits by which a reader may be behind. Then the newest are put together. */
const mostWaiting = 1024

interface Noted {
  readonly changes: Changes
  by: Author
  at: number
  count: number
}

class Reader implements Listener {
  readonly reads = undefined
  readonly #clock: Clock.Clock
  readonly #due = Latch.makeUnsafe(false)
  #noted: Array<Noted> = []
  #isOver = false

  constructor(clock: Clock.Clock) {
    this.#clock = clock
  }

  readonly committed = (changes: Changes, by: Author): void => {
    const at = this.#clock.currentTimeMillisUnsafe()
    const last = this.#noted.length < mostWaiting ? undefined : this.#noted.at(-1)!
    if (last === undefined) this.#noted.push({ changes: changes.copy(), by, at, count: 1 })
    else {
      last.changes.add(changes)
      if (by === "other") last.by = by
      last.at = at
      last.count++
    }
    this.#due.openUnsafe()
  }

  readonly ended = (): void => {
    this.#isOver = true
    this.#due.openUnsafe()
  }

  readonly pull: Pull.Pull<Arr.NonEmptyReadonlyArray<Commit>> = Effect.suspend(() =>
    Effect.flatMap(this.#due.await, () => {
      const noted = this.#noted.map(commitOf)
      this.#noted = []
      if (!Arr.isArrayNonEmpty(noted)) return Cause.done()
      if (!this.#isOver) this.#due.closeUnsafe()
      return Effect.succeed(noted)
    })
  )
}

const commitOf = ({ at, by, changes, count }: Noted): Commit => ({
  ...(changes.isUnknown ? undefined : { tables: changes.names }),
  isSchemaChanged: changes.isUnknown || changes.changesSchema,
  by,
  at,
  count
})

/** Begins to listen at once. The pull gives the commits, and ends when the database is shut down. */
export const begin = Effect.fnUntraced(function*(commits: Commits) {
  const reader = new Reader(yield* Clock.Clock)
  yield* Effect.acquireRelease(
    Effect.sync(() => commits.add(reader)),
    () => Effect.sync(() => commits.remove(reader))
  )
  return reader.pull
})

/** All commits from now on, until the database is shut down. */
export const stream = (commits: Commits): Stream.Stream<Commit> => Stream.scoped(Stream.fromPull(begin(commits)))
