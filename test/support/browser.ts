/** A real browser, where the machine has one. */
import { afterAll } from "@effect/vitest"
import { Effect } from "effect"
import { existsSync } from "node:fs"
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core"

const paths = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]

/** The path of a browser, or of the one that the environment names. */
export const browserPath: string | undefined = process.env["CHROMIUM_PATH"] ?? paths.find(existsSync)

/** One for all tests of a file, because it takes long to start. */
let browser: Promise<Browser> | undefined

afterAll(async () => {
  await (await browser)?.close()
})

/** How long a test with a browser may take, and what it waits for: against one that hangs, not one on a machine that is busy. */
export const timeout = 300_000

const launch = (): Promise<Browser> =>
  browser ??= chromium.launch({
    executablePath: browserPath!,
    // In a container there is no user for the sandbox, and little shared memory.
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
    timeout
  })

export interface PageOptions {
  readonly colorScheme?: "light" | "dark"
  readonly width?: number
  /** Whether the test says how time passes in the page. */
  readonly isClockHeld?: boolean
  /** The user and the password that the page asks for. */
  readonly credentials?: { readonly username: string; readonly password: string }
}

/** A page, and everything that goes wrong in it: errors, and what its policy forbids. Closed with the scope. */
export const openPage = Effect.fnUntraced(function*(url: string, options: PageOptions = {}) {
  const { colorScheme = "light", credentials, isClockHeld = false, width = 1280 } = options
  const settings = { colorScheme, viewport: { width, height: 900 }, httpCredentials: credentials }
  const context = yield* Effect.acquireRelease(
    Effect.promise(async () => (await launch()).newContext(settings as BrowserContextOptions)),
    (context) => Effect.promise(() => context.close())
  )
  context.setDefaultTimeout(timeout)
  const page: Page = yield* Effect.promise(() => context.newPage())
  const problems: Array<string> = []
  page.on("pageerror", (error) => problems.push(error.message))
  page.on("dialog", (dialog) => problems.push(`a dialog: ${dialog.message()}`))
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") problems.push(message.text())
  })
  if (isClockHeld) {
    // It would run on by itself.
    yield* Effect.promise(async () => {
      await page.clock.install({ time: 0 })
      await page.clock.pauseAt(1000)
    })
  }
  yield* Effect.promise(() => page.goto(url))
  return { page, problems }
})
