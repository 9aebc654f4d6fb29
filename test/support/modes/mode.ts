/**
 * The modes in which the tests of SQLite run: everything in this process (no mode), `SQLITE_MODE=readers` with the readers in
 * threads, and `SQLITE_MODE=writer` with the writer in one too. `npm run test:modes` runs both: see `vitest.modes.config.ts`.
 *
 * A test of something that a mode does not have is skipped there, and its note says what that is. `exceptions.ts` lists those
 * that are known by their name.
 */
import { relative } from "node:path"
import { beforeAll, beforeEach } from "vitest"
import type { RunnerTestSuite as Suite } from "vitest"
import { type Exception, exceptions } from "./exceptions.ts"
import { watchThreads } from "./threads.ts"

export type Mode = "in-process" | "readers" | "writer"

export const mode: Mode = (process.env["SQLITE_MODE"] as Mode | undefined) ?? "in-process"

/** The budgets of a sweep whose cases take a thread or two each: in a mode, only the first ones. */
export const budgets = (from: number, to: number): readonly [from: number, to: number] =>
  mode === "in-process" ? [from, to] : [from, Math.min(to, from + 4)]

const changed = new WeakMap<object, object>()

/** Notes the pool that a mode has put in the place of another one. */
export const insteadOf = <P extends object>(real: P, inMode: P): P => {
  changed.set(inMode, real)
  return inMode
}

/** The pool whose `readers` are those in this process, as backups use them in all modes. */
export const withOwnReaders = <P extends object>(pool: P): P => (changed.get(pool) as P | undefined) ?? pool

let skip: ((note: string) => void) | undefined

/** The test that runs now is about something that the mode does not have. */
export const excepted = (what: string): never => {
  skip?.(`not with SQLITE_MODE=${mode}: ${what}`)
  throw new Error(`not in this mode: ${what}`)
}

const exceptionsOf = (path: string): ReadonlyArray<Exception> =>
  (exceptions[relative("test", path).replace(/(\.integration)?\.test\.ts$/, "")] ?? []).filter(({ modes }) =>
    modes.includes(mode)
  )

const namesIn = ({ tasks }: Suite): ReadonlyArray<string> =>
  tasks.flatMap((task) => task.type === "suite" ? namesIn(task) : task.fullTestName ?? task.name)

if (mode !== "in-process") {
  watchThreads()
  // oxlint-disable-next-line no-empty-pattern -- Vitest wants a pattern there.
  beforeAll(({}, suite) => {
    const { file } = suite as Suite
    const names = namesIn(file)
    for (const { name } of exceptionsOf(file.filepath)) {
      if (!names.some((test) => test.includes(name))) throw new Error(`no test has the name of the exception "${name}"`)
    }
  })
  beforeEach(({ skip: skipTest, task }) => {
    skip = (note) => skipTest(note)
    for (const { name, why } of exceptionsOf(task.file.filepath)) {
      if ((task.fullTestName ?? task.name).includes(name)) excepted(why)
    }
  })
}
