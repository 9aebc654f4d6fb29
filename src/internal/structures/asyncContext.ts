/**
 * The asynchronous context of the platform: what `AsyncLocalStorage` of Node, Bun and Deno carries from one callback to
 * those it causes, as the store of a request.
 */

/** Runs a function in the context in which this was made. */
export type Within = <A>(f: () => A) => A

/**
 * Remembers the present context. Where the platform has none, functions are just run: nothing is imported, so that the pool
 * works without `node:async_hooks`.
 */
export const capture = (): Within => {
  const hooks = globalThis.process?.getBuiltinModule?.("node:async_hooks")
  return hooks?.AsyncLocalStorage.snapshot?.() ?? ((f) => f())
}
