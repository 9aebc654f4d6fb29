// Preloaded into a program of its own: there, the package is its source, as it is in the tests.
import { registerHooks } from "node:module"

const entries: Readonly<Record<string, string>> = {
  "effect-connection-pool": "../../../src/index.ts",
  "effect-connection-pool/inspector": "../../../src/inspector/index.ts",
  "effect-connection-pool/postgres": "../../../src/postgres/index.ts",
  "effect-connection-pool/sqlite": "../../../src/sqlite/index.ts",
  "effect-connection-pool/testing": "../../../src/testing/index.ts"
}

registerHooks({
  resolve: (specifier, context, next) => {
    const entry = entries[specifier]
    return next(entry === undefined ? specifier : new URL(entry, import.meta.url).href, context)
  }
})
