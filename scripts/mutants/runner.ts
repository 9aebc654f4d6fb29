/**
 * Runs each test as it is, and then again with each mutant that it passed through and that no test has noticed yet. All of
 * it happens in one process, with the modules loaded once: a run of a test takes milliseconds, a new process takes seconds.
 */
import { type RunnerTestCase, type RunnerTestFile, type SerializedConfig, TestRunner } from "vitest"
import { append, entries, type Outcome, sample } from "./record.ts"

/** What the code that Stryker compiled in looks at. */
interface Switches {
  activeMutant?: string | undefined
  currentTestId?: string | undefined
  hitCount?: number | undefined
  hitLimit?: number | undefined
  readonly mutantCoverage: {
    readonly static: Record<string, number>
    readonly perTest: Record<string, Record<string, number>>
  }
}

const switches = (globalThis as { __stryker__?: Switches }).__stryker__ ??= {
  mutantCoverage: { static: {}, perTest: {} }
}

// Tests may replace the global one.
const { clearTimeout, setTimeout } = globalThis

const run = async (
  body: () => unknown,
  limits: { readonly hits: number; readonly millis: number },
  mutant?: string
): Promise<Outcome> => {
  switches.hitCount = 0
  switches.hitLimit = limits.hits
  switches.activeMutant = mutant
  const { promise: late, resolve } = Promise.withResolvers<Outcome>()
  const timer = setTimeout(resolve, limits.millis, "hung")
  const outcome = await Promise.race([
    Promise.resolve().then(body).then((): Outcome => "passed", (): Outcome => "failed"),
    late
  ])
  clearTimeout(timer)
  switches.activeMutant = undefined
  return switches.hitCount > limits.hits ? "endless" : outcome
}

export default class MutantRunner extends TestRunner {
  readonly #unnoticed: Set<string>

  constructor(config: SerializedConfig) {
    super(config)
    this.#unnoticed = new Set(sample().mutants.map(({ id }) => id))
    for (const entry of entries()) if (entry.is === "noticed") this.#unnoticed.delete(entry.mutant)
  }

  async runTask(task: RunnerTestCase): Promise<void> {
    const test = `${task.file.name}: ${task.name}`
    const body = TestRunner.getTestFn(task)
    append({ is: "begun", test })
    switches.currentTestId = task.id
    const start = performance.now()
    try {
      await body()
    } catch (error) {
      append({ is: "odd", test })
      throw error
    }
    const millis = Math.min(10_000 + 10 * (performance.now() - start), 60_000)
    const hits = Object.entries(switches.mutantCoverage.perTest[task.id] ?? {})
    await this.#tryAll(test, body, millis, hits.filter(([mutant]) => this.#unnoticed.has(mutant)))
    switches.currentTestId = undefined
  }

  /** A failure counts if the test passes again without the mutant: so it was not what an earlier mutant left behind. */
  async #tryAll(
    test: string,
    body: () => unknown,
    millis: number,
    [first, ...rest]: ReadonlyArray<readonly [mutant: string, hits: number]>
  ): Promise<void> {
    if (first === undefined) return
    const [mutant, hits] = first
    append({ is: "begun", test, mutant })
    const outcome = await run(body, { hits: 1000 + 100 * hits, millis }, mutant)
    if (outcome === "passed") {
      if (switches.hitCount === 0) append({ is: "once", mutant })
    } else {
      if (await run(body, { hits: Infinity, millis }) !== "passed") return append({ is: "odd", test, mutant })
      append({ is: "noticed", outcome, test, mutant })
      this.#unnoticed.delete(mutant)
    }
    return this.#tryAll(test, body, millis, rest)
  }

  override onAfterRunFiles(files: Array<RunnerTestFile>): void {
    for (const mutant of Object.keys(switches.mutantCoverage.static)) {
      if (this.#unnoticed.has(mutant)) append({ is: "once", mutant })
    }
    for (const file of files) append({ is: "done", file: file.name })
    super.onAfterRunFiles(files)
  }
}
