/**
 * JavaScript for the threads of tests. Node strips types with WebAssembly, in each thread anew, and processes that end many
 * such threads crash now and then: a whole test file is lost (https://github.com/nodejs/node/issues/64500).
 */
import { build } from "esbuild"
import { fileURLToPath, pathToFileURL } from "node:url"

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))

const entryPoints = {
  threadMain: path("../../src/sqlite/internal/worker/threadMain.ts"),
  sqlFunctions: path("./programs/sqlFunctions.ts")
}

/** Bundles programs, the script of threads and the module of functions of the tests into a folder. */
export const bundle = (outdir: string, programs: Readonly<Record<string, string>> = {}): Promise<unknown> =>
  build({
    entryPoints: { ...entryPoints, ...programs },
    outdir,
    bundle: true,
    splitting: true,
    platform: "node",
    format: "esm",
    outExtension: { ".js": ".mjs" },
    logLevel: "silent"
  })

const folder = path("../../.generated/threads/")
const starter = path("../../src/sqlite/internal/worker/thread.ts")
const place = "import.meta.url"

/** The threads of the process that runs the tests load the bundle, which is made at the start of a run. */
export const threads = {
  name: "threads",
  enforce: "pre",
  configResolved: () => bundle(folder),
  transform: (code: string, id: string): string | undefined => {
    if (id !== starter) return undefined
    if (!code.includes(place)) throw new Error(`${starter} no longer finds the script of threads by ${place}`)
    return code.replace(place, JSON.stringify(pathToFileURL(`${folder}thread.mjs`).href))
  }
} as const
