/**
 * How large should the pool be? Simulates a load that you describe, with pools of several sizes, and shows the waits of each.
 * It opens no connection, and a simulated hour takes seconds.
 *
 *     npm run size
 *     npm run size -- --rate 400 --service 12 --p99 50 --goal 20
 *     npm run size -- --rate 90 --work 8 --service 2
 *     npm run size -- --rate 20 --burst 60 --every 30 --connect 40
 *     npm run size -- --recorded times.txt --service 25
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Presets, SingleBar } from "cli-progress"
import Table from "cli-table3"
import { Console, Effect, FileSystem, Option } from "effect"
import { PoolSimulation } from "effect-connection-pool"
import { Command, Flag } from "effect/cli"

const number = (name: string, description: string) => Flag.Finite(name).pipe(Flag.withDescription(description))

const flags = {
  rate: number("rate", "Requests in a second, independent of each other").pipe(Flag.withDefault(150)),
  burst: number("burst", "Besides, so many requests in one moment").pipe(Flag.optional),
  every: number("every", "Seconds between two bursts").pipe(Flag.withDefault(10)),
  recorded: Flag.String("recorded").pipe(
    Flag.withDescription("Instead: a file with the time of each request in milliseconds, one in a line"),
    Flag.optional
  ),
  service: number("service", "Milliseconds that a request keeps its connection; the mean, or with --p99 the median")
    .pipe(
      Flag.withDefault(20)
    ),
  p99: number("p99", "Milliseconds that 99 of 100 requests do not exceed").pipe(Flag.optional),
  work: number("work", "Milliseconds of work in one thread that all connections share, as those of SQLite do").pipe(
    Flag.optional
  ),
  connect: number("connect", "Milliseconds that it takes to open a connection").pipe(Flag.withDefault(5)),
  goal: number("goal", "Milliseconds that 99 of 100 requests may wait").pipe(Flag.withDefault(10)),
  upTo: Flag.Int("up-to").pipe(Flag.withDescription("The largest pool to try"), Flag.withDefault(64)),
  requests: Flag.Int("requests").pipe(Flag.withDescription("Requests in each simulation"), Flag.withDefault(20_000)),
  seed: Flag.Int("seed").pipe(Flag.withDescription("Another seed has other requests"), Flag.withDefault(1))
}

type Flags = Command.Command.Config.Infer<typeof flags>

const arrivalsOf = Effect.fnUntraced(function*({ burst, every, rate, recorded }: Flags) {
  if (Option.isSome(recorded)) {
    const text = yield* Effect.flatMap(FileSystem.FileSystem, (files) => files.readFileString(recorded.value))
    return PoolSimulation.recorded(text.split("\n").filter((line) => line.trim() !== "").map(Number))
  }
  return Option.isSome(burst)
    ? PoolSimulation.bursts({ size: burst.value, every: every * 1000, perSecond: rate })
    : PoolSimulation.poisson(rate)
})

const serviceOf = ({ p99, service, work }: Flags): PoolSimulation.Service => {
  const whole = Option.match(p99, {
    onNone: () => PoolSimulation.exponential(service),
    onSome: (p99) => PoolSimulation.lognormal({ median: service, p99 })
  })
  return Option.isSome(work) ? { work: PoolSimulation.exponential(work.value), waiting: whole } : whole
}

const millis = (value: number): string => value === Infinity ? "not served" : `${value.toFixed(1)} ms`

/** A bar for each pool that was tried: how long 99 of 100 requests waited. The scale is logarithmic. */
const chart = (tried: ReadonlyArray<PoolSimulation.Tried>, goal: number): string => {
  const width = 40
  const longest = Math.max(goal, ...tried.map(({ p99Delay }) => p99Delay).filter(Number.isFinite))
  const length = (value: number) =>
    value === Infinity ? width : Math.round(width * Math.log1p(value) / Math.log1p(longest))
  const rows = tried.map(({ max, p99Delay }) => {
    const bar = (p99Delay === Infinity ? "▒" : "█").repeat(length(p99Delay)).padEnd(width)
    const at = length(goal)
    return `${String(max).padStart(4)} ${bar.slice(0, at)}|${bar.slice(at)} ${millis(p99Delay)}`
  })
  return [" max what 99 of 100 requests wait; | is the goal", ...rows].join("\n")
}

const size = Effect.fn("size")(function*(flags: Flags) {
  const bar = new SingleBar({
    format: "{bar} {percentage} % of max {max}",
    hideCursor: true,
    clearOnComplete: true,
    barsize: 40
  }, Presets.rect)
  bar.start(1, 0, { max: "" })
  const options: PoolSimulation.Options = {
    arrivals: yield* arrivalsOf(flags),
    service: serviceOf(flags),
    connect: flags.connect,
    requests: flags.requests,
    seed: flags.seed,
    onProgress: ({ max, part }) => Effect.sync(() => bar.update(part, { max }))
  }
  const suggestion = yield* PoolSimulation.suggest({ ...options, p99Wait: flags.goal, upTo: flags.upTo }).pipe(
    Effect.ensuring(Effect.sync(() => bar.stop()))
  )
  const { result, tried } = suggestion
  const table = new Table({ head: ["max", "99 of 100 wait", "in use", "not served"], style: { head: [], border: [] } })
  for (const { lost, max, p99Delay, utilization } of tried) {
    table.push([max, millis(p99Delay), `${Math.round(utilization * 100)} %`, lost])
  }
  yield* Console.log(table.toString())
  yield* Console.log(`\n${chart(tried, flags.goal)}\n`)
  yield* Console.log(
    `${result.perSecond.toFixed(0)} requests in a second would keep ${result.offeredLoad.toFixed(1)} connections in use`
  )
  yield* Console.log(suggestion._tag === "Found" ? `max: ${suggestion.max}` : suggestion.reason)
  yield* Console.log(`\nWhat this does not know:\n${result.limits.map((limit) => `- ${limit}`).join("\n")}`)
})

const command = Command.make("size", flags, size).pipe(Command.withDescription("Finds the size of a pool for a load"))

Command.run(command, { version: "0.1.0" }).pipe(
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)

/* Prints:
┌─────┬────────────────┬────────┬────────────┐
│ max │ 99 of 100 wait │ in use │ not served │
├─────┼────────────────┼────────┼────────────┤
│ 3   │ 2714.2 ms      │ 99 %   │ 0          │
├─────┼────────────────┼────────┼────────────┤
│ 6   │ 15.1 ms        │ 51 %   │ 0          │
├─────┼────────────────┼────────┼────────────┤
│ 7   │ 7.0 ms         │ 43 %   │ 0          │
├─────┼────────────────┼────────┼────────────┤
│ 8   │ 1.1 ms         │ 38 %   │ 0          │
├─────┼────────────────┼────────┼────────────┤
│ 10  │ 0.0 ms         │ 30 %   │ 0          │
├─────┼────────────────┼────────┼────────────┤
│ 12  │ 0.0 ms         │ 25 %   │ 0          │
└─────┴────────────────┴────────┴────────────┘

 max what 99 of 100 requests wait; | is the goal
   3 ████████████|████████████████████████████ 2714.2 ms
   6 ████████████|██                           15.1 ms
   7 ███████████ |                             7.0 ms
   8 ████        |                             1.1 ms
  10             |                             0.0 ms
  12             |                             0.0 ms

151 requests in a second would keep 3.0 connections in use
max: 7

What this does not know:
- A request takes as long with many connections in use as with few, unless service is a function that says otherwise: locks, disks and processors of the database are not simulated.
- Requests arrive independently of each other. Real ones come in bursts, and then wait for longer.
- Nobody repeats a request that failed, and nobody stays away because of slow answers.
- The time that the pool, Effect and the network need is not simulated.
- The first 10 % were not counted: a cold start looks worse.
*/
