/**
 * How does a service answer while somebody asks for a report that takes a second?
 *
 * Fills the database of the service beside this file with notes, puts the service under load, and asks for reports, one after
 * the other. Meanwhile it asks for `/health` a hundred times a second, and shows how long that took. A first report and two
 * seconds of load are not counted: until then, both processes compile their code. With `--compare`, it asks for the same reports
 * in process too, where each of them stops everything.
 *
 *     NOTES_EXERCISES=on npm run example -- http-service &
 *     npm run example -- http-report --compare
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Clock, Console, Effect, FiberSet, Schedule, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { ChildProcess } from "effect/process"
import { fileURLToPath } from "node:url"
import { judge, positive, reach, url } from "./client.ts"

const Pool = Schema.Struct({ filename: Schema.String })

const millis = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const startedAt = yield* Clock.monotonicTimeNanos
    yield* effect
    return Number((yield* Clock.monotonicTimeNanos) - startedAt) / 1e6
  })

/** The time below which that share of all times is. */
const percentile = (times: ReadonlyArray<number>, share: number): number =>
  times.toSorted((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * share))]!

const program = Effect.fn("report")(function*(options: {
  readonly url: string
  readonly clients: number
  readonly notes: number
  readonly reports: number
  readonly atMost: number
  readonly compare: boolean
}) {
  const http = HttpClient.mapRequest(yield* HttpClient.HttpClient, HttpClientRequest.prependUrl(options.url)).pipe(
    HttpClient.filterStatusOk
  )
  const ask = (request: HttpClientRequest.HttpClientRequest) =>
    Effect.scoped(Effect.flatMap(http.execute(request), (response) => response.text))
  const health = ask(HttpClientRequest.get("/health"))

  /**
   * How long each answer of `/health` took while an effect ran. It is asked again whether it has answered or not. After a long
   * stall, a server may hang up instead: that is no answer, and took as long.
   */
  const during = Effect.fnUntraced(function*<A, E, R>(name: string, effect: Effect.Effect<A, E, R>) {
    const times: Array<number> = []
    let unanswered = 0
    const asking = yield* FiberSet.make<unknown, unknown>()
    const answer = Effect.catch(health, () => Effect.sync(() => unanswered++))
    const probe = Effect.map(millis(answer), (time) => times.push(time))
    const probing = yield* Effect.forkScoped(
      Effect.repeat(FiberSet.run(asking, probe), Schedule.fixed("10 millis"))
    )
    const took = yield* millis(effect)
    probing.interruptUnsafe()
    yield* FiberSet.awaitEmpty(asking)
    const [half, most, longest] = [0.5, 0.99, 1].map((share) => percentile(times, share)) as [number, number, number]
    const shown = [half, most, longest].map((time) => time.toFixed(1))
    yield* Console.log(
      `${name.padEnd(28)} /health answered ${String(times.length).padStart(4)} times: median ${shown[0]} ms, ` +
        `p99 ${shown[1]} ms, longest ${shown[2]} ms${unanswered === 0 ? "" : `; ${unanswered} had no answer`}`
    )
    return { half, p99: most, took }
  }, Effect.scoped)

  yield* reach(options.url)
  const { filename } = yield* Effect.flatMap(
    http.get("/pool"),
    (response) => Effect.flatMap(response.json, Schema.decodeUnknownEffect(Pool))
  )
  const fill = fileURLToPath(new URL("fill.ts", import.meta.url))
  const filling = yield* ChildProcess.make(process.execPath, [fill, filename, String(options.notes)], {
    stderr: "inherit"
  })
  const code = yield* filling.exitCode
  if (code !== 0) return yield* Effect.fail(new Error("the notes were not added"))

  const client = Effect.forever(
    Effect.andThen(Effect.ignore(ask(HttpClientRequest.get("/notes"))), Effect.sleep("20 millis"))
  )
  const clients = yield* FiberSet.make<unknown, unknown>()
  for (let count = 0; count < options.clients; count++) yield* FiberSet.run(clients, client)
  const reports = (request: HttpClientRequest.HttpClientRequest) =>
    Effect.repeat(ask(request), { times: options.reports - 1 })

  yield* Effect.andThen(ask(HttpClientRequest.get("/report")), Effect.sleep("2 seconds"))
  yield* during("without a report", Effect.sleep("2 seconds"))
  const worker = yield* during("reports on a worker", reports(HttpClientRequest.get("/report")))
  const each = (took: number) => `a report took ${(took / options.reports / 1000).toFixed(2)} s`
  yield* Console.log(each(worker.took))
  const verdict: Record<string, boolean> = {
    [`/health answered within ${options.atMost} ms at p99 while reports ran on a worker`]: worker.p99 <= options.atMost
  }
  if (options.compare) {
    const here = yield* during("reports in process", reports(HttpClientRequest.post("/exercise/words")))
    yield* Console.log(each(here.took))
    verdict["in process, it took at least four times as long in the median"] = here.half >= 4 * worker.half
  }
  yield* judge(verdict)
}, Effect.scoped)

const command = Command.make("report", {
  url,
  clients: positive("clients", "Clients that read notes at the same time", 20),
  notes: positive("notes", "How many notes are added before that", 120_000),
  reports: positive("reports", "How many reports are asked for, one after the other", 3),
  atMost: positive("at-most", "Milliseconds within which /health has to answer at p99", 50),
  compare: Flag.Boolean("compare").pipe(
    Flag.withDescription("Asks for reports in process too; the service needs NOTES_EXERCISES=on"),
    Flag.withDefault(false)
  )
}, program).pipe(Command.withDescription("Asks a service for reports that take long, and for its health meanwhile"))

Command.run(command, { version: "0.1.0" }).pipe(
  Effect.provide([NodeServices.layer, FetchHttpClient.layer]),
  NodeRuntime.runMain
)
