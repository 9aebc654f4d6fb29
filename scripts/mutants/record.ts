/**
 * The files through which the command and the runner of its tests speak with each other. What happened to a mutant is
 * appended at once, so that it outlives a process that never ends.
 */
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

export interface Position {
  readonly line: number
  readonly column: number
}

/** A change of the source, as Stryker describes it. Lines and columns count from 0. */
export interface Mutant {
  readonly id: string
  readonly fileName: string
  readonly location: { readonly start: Position; readonly end: Position }
  readonly mutatorName: string
  readonly replacement: string
}

export interface Sample {
  readonly mutants: ReadonlyArray<Mutant>
  /** The source with the mutants in it, by the whole path of the file. */
  readonly sources: Readonly<Record<string, string>>
}

/**
 * `failed`: a test failed. `endless`: the code ran round and round. `hung`: the test waited, many times longer than without
 * the mutant.
 */
export type Outcome = "passed" | "failed" | "endless" | "hung"

export type Entry =
  | { readonly is: "begun"; readonly test: string; readonly mutant?: string }
  | { readonly is: "noticed"; readonly outcome: Outcome; readonly test: string; readonly mutant: string }
  /** The test fails without a mutant, or when it runs again, and is not believed. */
  | { readonly is: "odd"; readonly test: string; readonly mutant?: string }
  /** The code of the mutant runs only once, such as while its module is loaded. */
  | { readonly is: "once"; readonly mutant: string }
  | { readonly is: "done"; readonly file: string }

const folder = fileURLToPath(new URL("../../.generated/mutants", import.meta.url))
const samplePath = `${folder}/sample.json`
export const entriesPath = `${folder}/entries.jsonl`

export const begin = (sample: Sample): void => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  writeFileSync(samplePath, JSON.stringify(sample))
  writeFileSync(entriesPath, "")
}

export const sample = (): Sample => JSON.parse(readFileSync(samplePath, "utf8")) as Sample

export const append = (entry: Entry): void => appendFileSync(entriesPath, `${JSON.stringify(entry)}\n`)

export const entries = (): ReadonlyArray<Entry> =>
  readFileSync(entriesPath, "utf8").split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Entry)
