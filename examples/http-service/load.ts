/**
 * How does a service fare while another process has the lock of its database?
 *
 * Puts the service beside this file under load, locks its database from outside until the service says that it is not
 * well, and shows how it fares: answers by status, health and connections, twice a second. In the end every request must
 * have had an answer, reads must have gone on, and the service must have said that it was not well, and that it was well again.
 *
 *     npm run example -- http-service &
 *     npm run example -- http-load
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Fiber, Latch, Result, Schedule, Schema, Stream } from "effect"
import { Command } from "effect/cli"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { ChildProcess } from "effect/process"
import { fileURLToPath } from "node:url"
import { judge, positive, reach, url } from "./client.ts"

const Health = Schema.Struct({
  status: Schema.String,
  reasons: Schema.Array(Schema.Struct({ _tag: Schema.String, side: Schema.String }))
})
const Side = Schema.Struct({ idle: Schema.Number, inUse: Schema.Number, waiting: Schema.Number })
const Pool = Schema.Struct({ filename: Schema.String, stats: Schema.Struct({ writer: Side, readers: Side }) })

interface Answers {
  /** How many there were of each status; "none" for requests that had no answer. */
  readonly counts: Map<number | string, number>
  /** How many reads succeeded. */
  reads: number
}

/** A client that makes one request after the other: it writes, or it reads. An answer is one, whatever its status. */
const client = Effect.fnUntraced(function*(http: HttpClient.HttpClient, writes: boolean, answers: Answers) {
  const request = writes
    ? yield* HttpClientRequest.bodyJson(HttpClientRequest.post("/notes"), { text: "under load" })
    : HttpClientRequest.get("/notes")
  // A request that is under way is not given up when the time is over: its answer counts.
  const ask = Effect.uninterruptible(Effect.gen(function*() {
    const result = yield* Effect.result(Effect.scoped(Effect.flatMap(
      http.execute(request),
      (response) => Effect.as(response.text, response.status)
    )))
    const answer = Result.isSuccess(result) ? result.success : "none"
    answers.counts.set(answer, (answers.counts.get(answer) ?? 0) + 1)
    if (answer === 200) answers.reads++
  }))
  yield* Effect.forever(Effect.andThen(ask, Effect.sleep("5 millis")))
})

/** Another process locks the file, for as long as the effect runs. */
const whileLocked = <A, E, R>(file: string, effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(Effect.gen(function*() {
    const script = fileURLToPath(new URL("lock.ts", import.meta.url))
    const child = yield* ChildProcess.make(process.execPath, [script, file], { stderr: "inherit" })
    yield* Stream.runDrain(Stream.take(Stream.decodeText(child.stdout), 1))
    yield* Console.log("-- locked from outside")
    return yield* effect
  }))

const load = Effect.fn("load")(function*(options: {
  readonly url: string
  readonly clients: number
  readonly lockFor: number
  readonly patience: number
}) {
  const http = HttpClient.mapRequest(yield* HttpClient.HttpClient, HttpClientRequest.prependUrl(options.url))
  const get = <S extends Schema.ConstraintDecoder<unknown>>(path: string, schema: S) =>
    Effect.flatMap(
      http.get(path),
      (response) => Effect.flatMap(response.json, Schema.decodeUnknownEffect(schema))
    )
  const answers: Answers = { counts: new Map(), reads: 0 }
  const before = new Map<number | string, number>()
  let phase: "before" | "locked" | "unlocked" = "before"
  const unwell = Latch.makeUnsafe()
  const wellAgain = Latch.makeUnsafe()
  const show = Effect.gen(function*() {
    const { reasons, status } = yield* get("/health", Health)
    const { stats } = yield* get("/pool", Pool)
    if (phase === "locked" && status !== "healthy") yield* unwell.open
    if (phase === "unlocked" && status === "healthy") yield* wellAgain.open
    const counts = Array.from(answers.counts, ([answer, count]) => `${answer}: ${count - (before.get(answer) ?? 0)}`)
    for (const [answer, count] of answers.counts) before.set(answer, count)
    const why = reasons.map(({ _tag, side }) => `${side}: ${_tag}`).join(", ")
    const writer = `${stats.writer.waiting} wait to write`
    const readers = `${stats.readers.inUse + stats.readers.idle} readers`
    yield* Console.log(
      `${`${status} ${why}`.padEnd(36)} ${writer.padEnd(18)} ${readers.padEnd(10)} ${counts.join("  ")}`
    )
  })
  /** Whether it comes to that in time. What the service says may be as old as the interval of its health checks. */
  const comes = (latch: Latch.Latch) =>
    Effect.as(latch.await, true).pipe(
      Effect.timeoutOrElse({ duration: `${options.patience} seconds`, orElse: () => Effect.succeed(false) })
    )

  yield* reach(options.url)
  const { filename } = yield* get("/pool", Pool)
  const clients = yield* Effect.forkChild(
    Effect.forEach(Array.from({ length: options.clients }), (_, place) => client(http, place % 10 < 3, answers), {
      concurrency: "unbounded",
      discard: true
    })
  )
  const watching = yield* Effect.forkChild(Effect.repeat(show, Schedule.spaced("500 millis")))
  yield* Effect.sleep("2 seconds")
  const { isUnwell: wasUnwell, readsOn } = yield* whileLocked(
    filename,
    Effect.gen(function*() {
      phase = "locked"
      const before = answers.reads
      yield* Effect.sleep(`${options.lockFor} seconds`)
      const isUnwell = yield* comes(unwell)
      // Those that were under way do not count.
      return { isUnwell, readsOn: answers.reads - before > options.clients }
    })
  )
  phase = "unlocked"
  yield* Console.log("-- unlocked")
  const isWellAgain = wasUnwell && (yield* comes(wellAgain))
  yield* Fiber.interrupt(clients)
  yield* Fiber.interrupt(watching)

  yield* judge({
    "every request was answered": answers.counts.size > 0 && !answers.counts.has("none"),
    "reads went on while another process had the lock": readsOn,
    "the service said that it was not well": wasUnwell,
    "and that it was well again": isWellAgain
  })
})

const command = Command.make("load", {
  url,
  clients: positive("clients", "Clients that make requests at the same time", 50),
  lockFor: positive("lock-for", "For how many seconds at least the database is locked", 4),
  patience: positive("patience", "How many seconds the service has to say how it is", 60)
}, load).pipe(Command.withDescription("Puts the service under load, and locks its database for a while"))

Command.run(command, { version: "0.1.0" }).pipe(
  Effect.provide([NodeServices.layer, FetchHttpClient.layer]),
  NodeRuntime.runMain
)
