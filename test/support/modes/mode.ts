/**
 * The modes in which the tests of SQLite run: everything in this process (no mode), `SQLITE_MODE=readers` with the readers in
 * threads, and `SQLITE_MODE=writer` with the writer in one too. A test of something that a mode does not have is skipped
 * there, and its note says what that is.
 */
import { beforeEach } from "vitest"

export type Mode = "in-process" | "readers" | "writer"

export const mode: Mode = (process.env["SQLITE_MODE"] as Mode | undefined) ?? "in-process"

let skip: ((note: string) => void) | undefined

/** The test that runs now is about something that the mode does not have. */
export const excepted = (what: string): never => {
  skip?.(`not with SQLITE_MODE=${mode}: ${what}`)
  throw new Error(`not in this mode: ${what}`)
}

/** Tests of behaviour that differs by design, by a part of their name. */
const differing: Readonly<Record<string, string>> = {}

beforeEach((context) => {
  skip = (note) => context.skip(note)
  for (const [name, why] of Object.entries(differing)) if (context.task.name.includes(name)) excepted(why)
})

/** A connection whose synchronous operations are not there. */
export const withoutSync = <C extends object>(connection: C): C =>
  new Proxy(connection, {
    get: (target, name) => {
      if (typeof name === "string" && name.endsWith("Unsafe")) return excepted(`${name}, which is synchronous`)
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === "function" ? (value as (...given: Array<unknown>) => unknown).bind(target) : value
    }
  })
