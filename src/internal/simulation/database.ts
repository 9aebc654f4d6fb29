/** The database of a simulation: what connect attempts, validations and resets meet, also in an outage. */
import { Cause, Effect, Exit } from "effect"
import * as ConnectionFactory from "../../ConnectionFactory.ts"
import type { OutageSettings, Settings } from "./options.ts"
import { streams } from "./random.ts"
import { drawer, type Surroundings, type TimeSettings } from "./times.ts"
import type { VirtualTime } from "./virtualTime.ts"

/** A connection to nothing. */
export interface SimulatedConnection {
  isAlive: boolean
  /** Tells the pool that the connection is dead. */
  readonly died: () => void
  /** Called when the connection breaks under its lease. */
  broke: (() => void) | undefined
}

/** The database is down. */
export class DatabaseDown {
  readonly isTransient: boolean

  constructor(isTransient: boolean) {
    this.isTransient = isTransient
  }
}

export class Database {
  /** How long the connect attempts that succeeded took. */
  readonly connectMillis: Array<number> = []
  readonly #settings: Settings
  readonly #time: VirtualTime
  readonly #surroundings: Surroundings
  readonly #open = new Set<SimulatedConnection>()

  /** `abort` ends the simulation because a function of the user has thrown. */
  constructor(settings: Settings, time: VirtualTime, surroundings: Surroundings, abort: (thrown: unknown) => void) {
    this.#settings = settings
    this.#time = time
    this.#surroundings = surroundings
    this.#abort = abort
    for (const outage of settings.outages) {
      if (outage.drops) time.at(outage.fromMillis, () => this.#drop())
    }
  }

  readonly #abort: (thrown: unknown) => void

  get factory(): ConnectionFactory.ConnectionFactory<SimulatedConnection, DatabaseDown> {
    const { connect, outages, reset, seed, validate } = this.#settings
    const toConnect = this.#wait(streams.connect, connect)
    const toValidate = this.#wait(streams.validate, validate)
    const toReset = reset && this.#wait(streams.reset, reset)
    const slow = new Map(outages.map((outage) => [outage, this.#slow(outage, seed)]))
    return ConnectionFactory.make<SimulatedConnection, DatabaseDown>({
      connect: (died) => {
        const opens = Effect.suspend(() => {
          const begun = this.#time.now
          const outage = this.#outage()
          const waits = outage === undefined
            ? toConnect()
            : outage.connect === "refused"
            ? Effect.fail(new DatabaseDown(outage.isTransient))
            : slow.get(outage)!()
          return Effect.flatMap(waits, () => {
            // The outage may have begun after the attempt.
            const now = this.#outage()
            if (now?.connect === "refused") return Effect.fail(new DatabaseDown(now.isTransient))
            if (now?.connect === "hangs") return Effect.never
            const connection: SimulatedConnection = { isAlive: true, died, broke: undefined }
            this.#open.add(connection)
            this.connectMillis.push(this.#time.now - begun)
            return Effect.succeed(connection)
          })
        })
        return Effect.acquireRelease(
          opens,
          (connection) =>
            Effect.sync(() => {
              this.#open.delete(connection)
            }),
          { interruptible: true }
        )
      },
      isAlive: ({ isAlive }) => isAlive,
      validate: ({ isAlive }) => Effect.map(toValidate(), () => isAlive),
      reset: toReset,
      isTransient: ({ isTransient }) => isTransient
    })
  }

  #slow({ connect }: OutageSettings, seed: number): () => Effect.Effect<void> {
    return this.#wait(streams.connect, connect === "refused" || connect === "hangs" ? noTime : connect, seed + 1)
  }

  /** The outage that is on now. */
  #outage(): OutageSettings | undefined {
    const { now } = this.#time
    return this.#settings.outages.find(({ fromMillis, toMillis }) => now >= fromMillis && now < toMillis)
  }

  /** Makes an effect that waits as long as a draw says. Its time number `index` is the same in all simulations. */
  #wait(stream: number, times: TimeSettings, seed = this.#settings.seed): () => Effect.Effect<void> {
    const draw = drawer(seed, stream, [times])
    let index = 0
    return () =>
      Effect.suspend(() => {
        try {
          const [millis] = draw(index++, this.#surroundings)
          return millis === 0 ? Effect.void : this.#time.sleep(millis!)
        } catch (thrown) {
          this.#abort(thrown)
          return Effect.never
        }
      })
  }

  /** Breaks all open connections. */
  #drop(): void {
    for (const connection of Array.from(this.#open)) {
      connection.isAlive = false
      connection.broke?.()
      connection.died()
    }
  }
}

const noTime: TimeSettings = { _tag: "Fixed", millis: 0 }

/** The exit of a lease whose connection broke. */
export const broken: Exit.Exit<never, "broken"> = Exit.failCause(Cause.fail("broken"))
