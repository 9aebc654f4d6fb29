/**
 * The asynchronous context of the platform: the values that `AsyncLocalStorage` of Node, Bun and Deno passes from one
 * callback to the callbacks that it causes.
 */

/** Runs a function in a context that was captured before. */
export type Within = <A>(f: () => A) => A

/**
 * Captures the present context. Returns a function that just runs its argument if the platform has no such context. It
 * imports nothing, so that the pool works without `node:async_hooks`.
 */
export const capture = (): Within => {
  const hooks = globalThis.process?.getBuiltinModule?.("node:async_hooks")
  return hooks?.AsyncLocalStorage.snapshot?.() ?? ((f) => f())
}
