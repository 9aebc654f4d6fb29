/**
 * Puts the service beside this file under load, locks its database from outside for some seconds, and shows how it
 * fares: answers by status, health and connections, twice a second. In the end every request must have had an answer,
 * the service must have said that it was not well while the database was locked, and that it was well again after.
 *
 *     NOTES_FILE=./notes.db npm run http-service &
 *     npm run http-load -- --file ./notes.db
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Clock, Console, Effect, Fiber, Result, Schedule, Schema, Stream } from "effect"
import { Command, Flag } from "effect/cli"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { ChildProcess } from "effect/process"
import { fileURLToPath } from "node:url"

const Health = Schema.Struct({ status: Schema.String, reasons: Schema.Array(Schema.Struct({ _tag: Schema.String })) })
const Pool = Schema.Struct({
  stats: Schema.Struct({ idle: Schema.Number, inUse: Schema.Number, waiting: Schema.Number })
})

/** One client after the other request: seven reads, three writes. An answer is an answer, whatever its status. */
const client = Effect.fnUntraced(function*(
  http: HttpClient.HttpClient,
  until: number,
  answers: Map<number | string, number>
) {
  const note = yield* HttpClientRequest.bodyJson(HttpClientRequest.post("/notes"), { text: "under load" })
  for (let request = 0; (yield* Clock.currentTimeMillis) < until; request++) {
    const result = yield* Effect.result(Effect.scoped(Effect.flatMap(
      http.execute(request % 10 < 3 ? note : HttpClientRequest.get("/notes")),
      (response) => Effect.as(response.text, response.status)
    )))
    const answer = Result.isSuccess(result) ? result.success : "none"
    answers.set(answer, (answers.get(answer) ?? 0) + 1)
    yield* Effect.sleep("5 millis")
  }
})

/** Locks the file in another process, and answers when that is over. */
const lock = Effect.fnUntraced(function*(file: string, seconds: number) {
  const script = fileURLToPath(new URL("lock.ts", import.meta.url))
  const child = yield* ChildProcess.make(process.execPath, [script, file, String(seconds)], { stderr: "inherit" })
  yield* Stream.runDrain(Stream.take(Stream.decodeText(child.stdout), 1))
  yield* Console.log("-- locked from outside")
  yield* child.exitCode
  yield* Console.log("-- unlocked")
}, Effect.scoped)

const load = Effect.fn("load")(function*(options: {
  readonly url: string
  readonly file: string
  readonly clients: number
  readonly seconds: number
  readonly lockFor: number
}) {
  const http = HttpClient.mapRequest(yield* HttpClient.HttpClient, HttpClientRequest.prependUrl(options.url))
  const answers = new Map<number | string, number>()
  const seen: Array<string> = []
  const before = new Map<number | string, number>()
  const show = Effect.gen(function*() {
    const { reasons, status } = yield* Effect.flatMap(
      http.get("/health"),
      (response) => Effect.flatMap(response.json, Schema.decodeUnknownEffect(Health))
    )
    const { stats } = yield* Effect.flatMap(
      http.get("/pool"),
      (response) => Effect.flatMap(response.json, Schema.decodeUnknownEffect(Pool))
    )
    if (seen.at(-1) !== status) seen.push(status)
    const counts = Array.from(answers, ([answer, count]) => `${answer}: ${count - (before.get(answer) ?? 0)}`)
    for (const [answer, count] of answers) before.set(answer, count)
    const why = reasons.map((reason) => reason._tag).join(", ")
    const connections = `${stats.inUse} in use, ${stats.idle} idle, ${stats.waiting} waiting`
    yield* Console.log(`${`${status} ${why}`.padEnd(32)} ${connections.padEnd(34)} ${counts.join("  ")}`)
  })

  const until = (yield* Clock.currentTimeMillis) + options.seconds * 1000
  const clients = yield* Effect.forkChild(
    Effect.forEach(Array.from({ length: options.clients }), () => client(http, until, answers), {
      concurrency: "unbounded",
      discard: true
    })
  )
  const watching = yield* Effect.forkChild(Effect.repeat(show, Schedule.spaced("500 millis")))
  yield* Effect.sleep(`${(options.seconds - options.lockFor) / 3} seconds`)
  yield* lock(options.file, options.lockFor)
  yield* Fiber.join(clients)
  yield* Fiber.interrupt(watching)
  yield* show

  const verdict = {
    "every request was answered": !answers.has("none"),
    "the service said that it was not well": seen.some((status) => status !== "healthy"),
    "and that it was well again": seen.at(-1) === "healthy"
  }
  for (const [claim, holds] of Object.entries(verdict)) yield* Console.log(`${holds ? "✓" : "✗"} ${claim}`)
  if (!Object.values(verdict).every((holds) => holds)) return yield* Effect.fail(new Error("the verdict is not true"))
})

const positive = (name: string, description: string, value: number) =>
  Flag.Int(name).pipe(
    Flag.withDescription(description),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
    Flag.withDefault(value)
  )

const command = Command.make("load", {
  url: Flag.String("url").pipe(
    Flag.withDescription("Where the service is"),
    Flag.withDefault("http://localhost:3000")
  ),
  file: Flag.String("file").pipe(
    Flag.withDescription("The file of the service"),
    Flag.withDefault("notes.db")
  ),
  clients: positive("clients", "Clients that make requests at the same time", 50),
  seconds: positive("seconds", "How long", 10),
  lockFor: positive("lock-for", "For how many seconds the database is locked", 4)
}, load).pipe(Command.withDescription("Puts the service under load, and locks its database for a while"))

Command.run(command, { version: "0.1.0" }).pipe(
  Effect.provide([NodeServices.layer, FetchHttpClient.layer]),
  NodeRuntime.runMain
)
