import { Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"

export interface Child {
  /** What it has printed so far. */
  readonly printed: () => string
  /** Waits until it has printed a line that begins like that. */
  readonly says: (line: string) => Effect.Effect<void>
  /** Ends its input, which it takes for a sign. */
  readonly sign: Effect.Effect<void>
  readonly kill: Effect.Effect<void>
  /** Waits for its end, and fails the test if that was not a good one. */
  readonly ended: Effect.Effect<void>
}

/** Runs a program of this folder in another process, which ends with the scope. */
export const run = (name: string, ...args: ReadonlyArray<string>): Effect.Effect<Child, never, Scope.Scope> =>
  Effect.gen(function*() {
    const path = fileURLToPath(new URL(`programs/${name}.ts`, import.meta.url))
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [path, ...args], { stdio: ["pipe", "pipe", "pipe"] })),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    let out = ""
    let err = ""
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk.toString()
    })
    child.stderr.on("data", (chunk: Buffer) => {
      err += chunk.toString()
    })
    child.stdin.on("error", () => {})
    let result: { readonly code: number | null; readonly signal: string | null } | undefined
    child.once("close", (code, signal) => {
      result = { code, signal }
    })
    const closed = Effect.callback<void>((resume) => {
      if (result !== undefined) return resume(Effect.void)
      child.once("close", () => resume(Effect.void))
    })
    return {
      printed: () => out,
      says: (line) =>
        Effect.callback<void>((resume) => {
          const look = () => {
            if (out.split("\n").some((printed) => printed.startsWith(line))) resume(Effect.void)
            else if (result !== undefined) resume(Effect.die(new Error(`${name} ended without "${line}": ${err}`)))
          }
          child.stdout.on("data", look)
          child.once("close", look)
          look()
        }),
      sign: Effect.sync(() => {
        child.stdin.end()
      }),
      kill: Effect.andThen(Effect.sync(() => child.kill("SIGKILL")), closed),
      ended: Effect.andThen(
        closed,
        Effect.suspend(() => result?.code === 0 ? Effect.void : Effect.die(new Error(`${name} failed: ${err}`)))
      )
    }
  })
