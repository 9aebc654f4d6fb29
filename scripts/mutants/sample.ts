/** Draws mutants by a seed, and has Stryker compile all of them into the source, each behind a switch. */
import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import type { Mutant, Sample } from "./record.ts"

interface Source {
  readonly name: string
  readonly content: string
  readonly mutate: true | ReadonlyArray<Mutant["location"]>
}

/** The part of Stryker that is used here. It is not installed where the types of the repository are checked. */
interface Stryker {
  readonly createInjector: () => Injector
  readonly createInstrumenter: (injector: Injector) => {
    readonly instrument: (sources: ReadonlyArray<Source>, options: object) => Promise<{
      readonly files: ReadonlyArray<Source>
      readonly mutants: ReadonlyArray<Mutant>
    }>
  }
}
interface Injector {
  readonly provideValue: (token: string, value: unknown) => Injector
}

const { createInjector } = await import("typed-inject" as string) as Stryker
const { createInstrumenter } = await import("@stryker-mutator/instrumenter" as string) as Stryker

const silent = () => {}
const logger = { debug: silent, info: silent, warn: console.warn, error: console.error, isDebugEnabled: () => false }
const options = { plugins: null, excludedMutations: [], ignorers: [] }
const instrumenter = createInstrumenter(
  createInjector().provideValue("logger", logger).provideValue("options", options)
)

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
const random = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
}

const keyOf = ({ fileName, location, mutatorName, replacement }: Mutant): string =>
  JSON.stringify([fileName, location, mutatorName, replacement])

export const draw = async (
  files: ReadonlyArray<string>,
  seed: number,
  size: number
): Promise<Sample & { readonly possible: number }> => {
  const sources = files.toSorted().map((name): Source => ({ name, content: readFileSync(name, "utf8"), mutate: true }))
  const possible = (await instrumenter.instrument(sources, options)).mutants
  const next = random(seed)
  const drawn = possible.map((mutant) => ({ mutant, order: next() })).toSorted((one, other) => one.order - other.order)
    .slice(0, size).map(({ mutant }) => mutant)

  // Once more with these alone: a source with all of its mutants would be many times slower.
  const instrumented = await instrumenter.instrument(
    sources.flatMap(({ content, name }): ReadonlyArray<Source> => {
      const mutate = drawn.filter(({ fileName }) => fileName === name).map(({ location }) => location)
      return mutate.length === 0 ? [] : [{ name, content, mutate }]
    }),
    options
  )
  const keys = new Set(drawn.map(keyOf))
  return {
    possible: possible.length,
    mutants: instrumented.mutants.filter((mutant) => keys.has(keyOf(mutant))),
    sources: Object.fromEntries(instrumented.files.map(({ content, name }) => [resolve(name), content]))
  }
}
