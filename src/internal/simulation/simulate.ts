/** Runs one simulation: the real pool, with requests and a database that live in virtual time. */
import { Cause, Context, Effect, Exit, Logger, Random, Result, Scope } from "effect"
import * as ConnectionPool from "../../ConnectionPool.ts"
import { PoolConfigError, type PoolError } from "../../PoolError.ts"
import { problem } from "../options/rules.ts"
import * as Arrivals from "./arrivals.ts"
import type { Result as Answer } from "./contract.ts"
import { broken, Database, type DatabaseDown, type SimulatedConnection } from "./database.ts"
import { NoTime } from "./loadOptions.ts"
import type { Settings } from "./options.ts"
import { Stream, streams } from "./random.ts"
import { Tally } from "./tally.ts"
import { Threads } from "./threads.ts"
import { drawer, type Surroundings } from "./times.ts"
import { VirtualTime } from "./virtualTime.ts"

/** Things that happen between two looks at the event loop of the machine: together they take a few milliseconds at most. */
const eventsPerTurn = 100

/** Runs a simulation whose options are checked. It gives way to other fibers of the application now and then. */
export const simulate = (settings: Settings): Effect.Effect<Answer, PoolConfigError> =>
  Effect.suspend(() => {
    const simulation = new Simulation(settings)
    const { onProgress } = settings
    const goOn: Effect.Effect<Answer, PoolConfigError> = Effect.suspend(() => {
      const exit = simulation.advance()
      if (exit !== undefined && Exit.isFailure(exit)) return exit
      const shown = onProgress === undefined ? Effect.void : onProgress(simulation.progress())
      if (exit !== undefined) return Effect.andThen(shown, exit)
      return shown.pipe(Effect.andThen(Effect.yieldNow), Effect.andThen(goOn))
    })
    return goOn
  })

type Pool = ConnectionPool.ConnectionPool<SimulatedConnection, DatabaseDown>

/** One request. */
interface Request {
  readonly index: number
  readonly askedAt: number
  readonly isCounted: boolean
  /** When it got its connection. */
  leasedAt: number | undefined
  threadMillis: number
  isOver: boolean
}

class Simulation implements Surroundings {
  readonly #settings: Settings
  readonly #time = new VirtualTime()
  readonly #tally: Tally
  readonly #database: Database
  readonly #threads: Threads
  readonly #context: Context.Context<Scope.Scope>
  readonly #scope = Scope.makeUnsafe()
  readonly #arrivals: Iterator<number>
  readonly #draw: ReturnType<typeof drawer>
  readonly #fork: <A, E>(effect: Effect.Effect<A, E>) => { addObserver(f: (exit: Exit.Exit<A, E>) => void): unknown }
  /** The next arrival; `undefined` if no more will come. */
  #next: number | undefined
  #asked = 0
  #ended = 0
  #pool: Pool | undefined
  #stats: Answer["connects"] | undefined
  #isClosed = false
  #abort: Cause.Cause<PoolConfigError> | undefined

  constructor(settings: Settings) {
    const { seed, service } = settings
    this.#settings = settings
    const random = new Stream(seed, streams.pool).next
    this.#context = this.#time.provide(Context.make(Scope.Scope, this.#scope)).pipe(
      Context.add(Random.Random, {
        nextDoubleUnsafe: random,
        nextIntUnsafe: () => Math.floor(random() * Number.MAX_SAFE_INTEGER)
      }),
      // What happens in a simulation is no news for the log of the application.
      Context.add(Logger.CurrentLoggers, new Set())
    )
    this.#fork = Effect.runForkWith(this.#context as Context.Context<never>)
    this.#tally = new Tally(settings, this.#time)
    this.#threads = new Threads(this.#time, service.threads)
    this.#arrivals = Arrivals.times(settings.arrivals, seed)
    this.#draw = drawer(seed, streams.service, [service.waiting, service.work ?? { _tag: "Fixed", millis: 0 }])
    const abort = (thrown: unknown) => this.#fail(thrown)
    this.#database = new Database(settings, this.#time, this, abort)
    this.#start()
  }

  get inUse(): number {
    return this.#tally.inUse
  }

  get atMillis(): number {
    return this.#time.now
  }

  #start(): void {
    const made = ConnectionPool.make({ ...this.#settings.pool, factory: this.#database.factory })
    this.#fork(made as Effect.Effect<Pool, PoolConfigError>).addObserver((exit) => {
      if (Exit.isSuccess(exit)) this.#pool = exit.value
      else this.#abort = exit.cause
    })
    this.#time.settle()
    this.#await()
  }

  /** Simulates a part. Returns the result if that was the last part. */
  advance(): Exit.Exit<Answer, PoolConfigError> | undefined {
    for (let event = 0; event < eventsPerTurn; event++) {
      if (this.#abort !== undefined) return Exit.failCause(this.#abort)
      if (this.#next === undefined && this.#ended === this.#asked) return this.#end()
      if (!this.#time.step()) return Exit.die(new Error("a simulation has requests that never end"))
    }
    return undefined
  }

  progress() {
    const { durationMillis, max, requests } = this.#settings
    const atMillis = this.#time.now
    const last = Math.min(requests, this.#asked / (atMillis / durationMillis))
    const part = this.#next === undefined ? this.#ended / Math.max(this.#asked, 1) : Math.min(this.#ended / last, 1)
    return { max, ended: this.#ended, part: Number.isNaN(part) ? 0 : part, atMillis }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Requests
  // -------------------------------------------------------------------------------------------------------------------

  /** Waits for the next arrival. */
  #await(): void {
    const { durationMillis, requests } = this.#settings
    const { done, value } = this.#asked < requests ? this.#arrivals.next() : { done: true, value: 0 }
    this.#next = done === true || value > durationMillis ? undefined : value
    if (this.#next === undefined) this.#tally.lastArrived()
    else this.#time.at(this.#next, () => this.#ask())
  }

  #ask(): void {
    const index = this.#asked++
    const request: Request = {
      index,
      askedAt: this.#time.now,
      isCounted: this.#tally.arrived(index),
      leasedAt: undefined,
      threadMillis: 0,
      isOver: false
    }
    const asks = this.#pool!.use((connection) => this.#serve(request, connection))
    this.#fork(asks).addObserver((exit) => this.#done(request, exit))
    this.#tally.asked()
    this.#await()
  }

  #serve(request: Request, connection: SimulatedConnection): Effect.Effect<void, "broken"> {
    return Effect.callback<void, "broken">((resume) => {
      const time = this.#time
      request.leasedAt = time.now
      this.#tally.leased()
      const end = (exit: Exit.Exit<void, "broken">) => {
        if (request.isOver) return
        request.isOver = true
        connection.broke = undefined
        this.#tally.returned()
        resume(exit)
      }
      connection.broke = () => end(broken)
      let times: ReadonlyArray<number>
      try {
        times = this.#draw(request.index, this)
      } catch (thrown) {
        return this.#fail(thrown)
      }
      const waiting = times[0]!
      const work = times[1]!
      const wait = () => waiting === 0 ? end(Exit.void) : void time.at(time.now + waiting, () => end(Exit.void))
      if (this.#settings.service.work === undefined) {
        this.#tally.drawn(request.isCounted, waiting, 0)
        return void time.at(time.now + waiting, () => end(Exit.void))
      }
      this.#tally.drawn(request.isCounted, waiting + work, work)
      this.#threads.run(work, () => {
        request.threadMillis = time.now - request.leasedAt!
      }, wait)
    })
  }

  #done(request: Request, exit: Exit.Exit<void, "broken" | PoolError<DatabaseDown>>): void {
    this.#ended++
    const { askedAt, isCounted, leasedAt, threadMillis } = request
    const now = this.#time.now
    if (Exit.isSuccess(exit)) {
      return this.#tally.served(isCounted, leasedAt! - askedAt, threadMillis, now - leasedAt!)
    }
    const error = Result.getOrElse(Cause.findError(exit.cause), () => undefined)
    if (error === "broken") this.#tally.lost(isCounted, "broken", leasedAt! > askedAt)
    else if (error?._tag === "AcquireTimeoutError") this.#tally.lost(isCounted, "timeouts", true)
    else if (error?._tag === "QueueFullError") this.#tally.lost(isCounted, "refused", false)
    else if (error?._tag === "ConnectError") this.#tally.lost(isCounted, "connectErrors", now > askedAt)
    else this.#abort ??= exit.cause as Cause.Cause<never>
    if (error !== "broken") this.#tally.left()
  }

  /** Ends the simulation, because a function of the user has thrown, or returned no time. */
  #fail(thrown: unknown): void {
    this.#abort ??= thrown instanceof NoTime
      ? Cause.fail(
        new PoolConfigError({
          pool: this.#settings.pool.name,
          problems: [problem(`the result of ${thrown.path}`, thrown.value, "a finite duration of zero or more")]
        })
      )
      : Cause.die(thrown)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The end
  // -------------------------------------------------------------------------------------------------------------------

  #end(): Exit.Exit<Answer, PoolConfigError> {
    const lasted = this.#time.now
    this.#fork(Effect.map(this.#pool!.stats, ({ connectAttempts, connectFailures, connectTimeouts, connects }) => {
      this.#stats = {
        attempts: connectAttempts,
        succeeded: connects,
        failed: connectFailures - connectTimeouts,
        timedOut: connectTimeouts,
        times: this.#tally.summary(this.#database.connectMillis)
      }
    }))
    this.#fork(Scope.close(this.#scope, Exit.void)).addObserver(() => {
      this.#isClosed = true
    })
    while (!this.#isClosed && this.#time.step());
    return this.#isClosed
      ? Exit.succeed(this.#tally.result(this.#stats!, lasted))
      : Exit.die(new Error("the pool of a simulation does not close"))
  }
}
