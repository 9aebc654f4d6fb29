/**
 * A driver that fails on demand, to test code against everything that a pool can answer.
 *
 * Its connections lead to nothing. A test can hold each operation at a gate, make it fail, die or hang, or delay it. The
 * driver counts and logs all operations. It works with `TestClock`: nothing here waits for real time.
 */
import { type Duration, Effect, Predicate } from "effect"
import * as ConnectionFactory from "../ConnectionFactory.ts"
import { checkOrThrow } from "../internal/options/problems.ts"
import { problem, table as makeTable } from "../internal/options/rules.ts"
import { LeaseExpiredError } from "../PoolError.ts"
import { type Faults, FaultyError, Gate, type Operation } from "./internal/faults.ts"

export { type Faults, FaultyError, type Operation } from "./internal/faults.ts"

/** A connection to nothing. */
export interface FaultyConnection {
  /** The number of the connect attempt that opened it, from 1. */
  readonly id: number
  /**
   * An operation that succeeds, and is logged as `run`. Fails with `FaultyError` once the connection was killed or
   * closed, and with `LeaseExpiredError` after the lease.
   */
  readonly run: Effect.Effect<void, FaultyError | LeaseExpiredError>
  /**
   * Begins something on the connection that nobody can stop. It is logged as `start`, and it still runs when the lease ends,
   * so the connection is abandoned. It ends after the lease, at `settle` of the factory: at once, unless that holds it up.
   */
  readonly start: Effect.Effect<void, FaultyError | LeaseExpiredError>
  /**
   * `run`, as a statement with this text that takes this long. The pool knows of it: see `ConnectionFactory.Statements`.
   * Default: no time.
   */
  readonly statement: (text: string, takes?: Duration.Input) => Effect.Effect<void, FaultyError | LeaseExpiredError>
  /** Leaves something behind for `reset` to clean: a later lease that still finds it is a violation. */
  readonly soil: Effect.Effect<void, FaultyError | LeaseExpiredError>
}

/** The numbers of operations so far. */
export interface Counters {
  /** The connect attempts that began. */
  readonly attempts: number
  /** The connections that were opened, and those that were closed. */
  readonly opened: number
  readonly closed: number
  /** The most connections that were open or connecting at one moment. */
  readonly mostOpen: number
  readonly validations: number
  readonly resets: number
  readonly leases: number
  /** The leases that have not ended. */
  readonly leased: number
  /** The connections on which something runs that was begun with `start`, although the lease has ended. */
  readonly unfinished: number
}

/** One line of the log: which operation began on which connection. */
export interface LogEntry {
  readonly operation: Operation | "run" | "start" | "begin lease" | "end lease"
  readonly connection: number
}

export interface FaultyFactory {
  readonly factory: ConnectionFactory.ConnectionFactory<FaultyConnection, FaultyError>
  readonly connect: Faults
  readonly validate: Faults
  readonly reset: Faults
  /** The end of what `start` has begun. If it fails, the driver has not seen that end, and the pool evicts the connection. */
  readonly settle: Faults
  readonly disconnect: Faults
  /**
   * Breaks an open connection, in use or idle: it is no longer alive, and its validation fails. Does nothing to a connection
   * that is closed or closing. The number of a connection that was never opened is a defect, a `TypeError`.
   */
  readonly kill: (connection: number) => Effect.Effect<void>
  /** Breaks an open connection, like `kill`, and the driver reports its death to the pool. */
  readonly drop: (connection: number) => Effect.Effect<void>
  /** Breaks an open connection so that only `validate` notices it, like a network that drops packets. */
  readonly sever: (connection: number) => Effect.Effect<void>
  readonly counters: Effect.Effect<Counters>
  /** All operations since the factory was made. So it grows, by some 3 kB for each connection that is opened and used. */
  readonly log: Effect.Effect<ReadonlyArray<LogEntry>>
  /**
   * The mistakes of the pool: it lent a connection twice, or one that was closed, closing or soiled; it ended a lease twice;
   * it closed a connection twice, or before its lease had ended; it lent, validated or reset a connection on which something
   * of an earlier lease still ran.
   */
  readonly violations: Effect.Effect<ReadonlyArray<string>>
}

export interface Options {
  /** Leaves `isAlive` out of the factory. Default: it is there. */
  readonly withoutIsAlive?: boolean | undefined
  /** Leaves `validate` out of the factory. Default: it is there. */
  readonly withoutValidate?: boolean | undefined
  /** Leaves `reset` out of the factory. Default: it is there. */
  readonly withoutReset?: boolean | undefined
  /** Judges the connection by a failure of its holder. Default: failures are not judged. */
  readonly judge?: ConnectionFactory.ConnectionFactory<FaultyConnection>["judge"]
  /** Lets a connect attempt be interrupted. Default: an attempt always runs to its end. */
  readonly interruptibleConnect?: boolean | undefined
}

/**
 * Makes a driver without any faults. Invalid options are a defect: a `TypeError` that lists every problem.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ConnectionPool } from "effect-connection-pool"
 * import { FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
 *
 * export const test = Effect.scoped(Effect.gen(function*() {
 *   const faulty = yield* FaultyFactory.make()
 *   const pool = yield* ConnectionPool.make({ factory: faulty.factory, max: 2 })
 *   yield* faulty.connect.fail(1)
 *   yield* PoolAssert.failsWith(pool.use((connection) => connection.run), "ConnectError")
 *   yield* pool.use((connection) => connection.run)
 *   yield* PoolAssert.nothingLeaked(faulty, pool)
 * }))
 * ```
 */
export const make = (options?: Options): Effect.Effect<FaultyFactory> => Effect.sync(() => makeUnsafe(options))

/** Makes a driver without any faults at once, outside of Effect. Throws a `TypeError` if its options are invalid. */
export const makeUnsafe = (given?: Options): FaultyFactory => {
  const options = checkOrThrow("FaultyFactory.make", table, given)
  const log: Array<LogEntry> = []
  const violations: Array<string> = []
  const fakes = new Map<number, FakeConnection>()
  const counters = {
    attempts: 0,
    opened: 0,
    closed: 0,
    mostOpen: 0,
    validations: 0,
    resets: 0,
    leases: 0,
    leased: 0,
    unfinished: 0
  }
  let opening = 0
  const gates = {
    connect: new Gate("connect"),
    validate: new Gate("validate"),
    reset: new Gate("reset"),
    settle: new Gate("settle"),
    disconnect: new Gate("disconnect")
  }
  const measure = () => {
    counters.mostOpen = Math.max(counters.mostOpen, counters.opened - counters.closed + opening)
  }
  const perform = (operation: Operation, connection: number): Effect.Effect<void, FaultyError> => {
    log.push({ operation, connection })
    return gates[operation].enter(connection)
  }

  const open = Effect.flatMap(
    Effect.all([ConnectionFactory.Died, ConnectionFactory.Statements]),
    ([died, statements]) => {
      const id = ++counters.attempts
      opening++
      measure()
      return Effect.onExit(perform("connect", id), () =>
        Effect.sync(() => {
          opening--
        })).pipe(
          Effect.map(() => {
            const fake: FakeConnection = {
              id,
              state: "open",
              isSoiled: false,
              isRunning: false,
              isUnfinished: false,
              lease: undefined,
              died,
              statements
            }
            fakes.set(id, fake)
            counters.opened++
            measure()
            return new Leased(fake, undefined, log)
          })
        )
    }
  )
  /** Nothing runs on the connection any more. */
  const end = (fake: FakeConnection) => {
    if (fake.isUnfinished) counters.unfinished--
    fake.isUnfinished = false
    fake.isRunning = false
  }
  const close = ({ fake }: Leased) =>
    Effect.suspend(() => {
      end(fake)
      if (fake.state === "closing" || fake.state === "closed") {
        violations.push(`connection ${fake.id} is closed twice`)
      }
      if (fake.lease !== undefined) violations.push(`connection ${fake.id} is closed while its lease goes on`)
      fake.state = "closing"
      return Effect.ensuring(
        Effect.orDie(perform("disconnect", fake.id)),
        Effect.sync(() => {
          fake.state = "closed"
          counters.closed++
        })
      )
    })

  const factory = ConnectionFactory.make<Leased, FaultyError>({
    connect: Effect.acquireRelease(open, close, { interruptible: options.interruptibleConnect === true }) as never,
    isAlive: options.withoutIsAlive === true
      ? undefined
      : ({ fake }) => fake.state === "open" || fake.state === "severed",
    validate: options.withoutValidate === true ? undefined : ({ fake }) => {
      counters.validations++
      if (fake.isRunning) violations.push(`connection ${fake.id} is validated while something runs on it`)
      return Effect.map(perform("validate", fake.id), () => fake.state === "open")
    },
    reset: options.withoutReset === true ? undefined : ({ fake }) => {
      counters.resets++
      if (fake.isRunning) violations.push(`connection ${fake.id} is reset while something runs on it`)
      return Effect.map(perform("reset", fake.id), () => {
        fake.isSoiled = false
      })
    },
    needsReset: ({ fake }) => fake.isSoiled || !gates.reset.isIdle,
    beginLease: ({ fake }, pool) => {
      log.push({ operation: "begin lease", connection: fake.id })
      if (fake.lease !== undefined) violations.push(`connection ${fake.id} is lent twice at once`)
      if (fake.state === "closing" || fake.state === "closed") {
        violations.push(`connection ${fake.id} is lent, but ${fake.state}`)
      }
      if (fake.isSoiled) violations.push(`connection ${fake.id} is lent soiled`)
      if (fake.isRunning) violations.push(`connection ${fake.id} is lent while something runs on it`)
      counters.leases++
      counters.leased++
      return fake.lease = new Leased(fake, pool, log)
    },
    endLease: (leased) => {
      log.push({ operation: "end lease", connection: leased.fake.id })
      if (leased.fake.lease !== leased) violations.push(`a lease of connection ${leased.fake.id} ends twice`)
      leased.fake.lease = undefined
      leased.isExpired = true
      counters.leased--
    },
    unfinished: ({ fake }) => {
      if (!fake.isRunning) return undefined
      fake.isUnfinished = true
      counters.unfinished++
      return {
        settled: Effect.suspend(() => Effect.ensuring(perform("settle", fake.id), Effect.sync(() => end(fake)))),
        description: `what was started on connection ${fake.id}`
      }
    },
    judge: given?.judge,
    isTransient: (error) => error.isTransient
  })
  const damage = (state: "killed" | "severed") => (connection: number) =>
    Effect.sync(() => {
      const fake = fakes.get(connection)
      if (fake === undefined) {
        throw new TypeError(problem("connection", connection, "the id of one that was opened").message)
      }
      if (fake.state === "open" || fake.state === "severed") fake.state = state
      return fake
    })
  return {
    factory: factory as unknown as ConnectionFactory.ConnectionFactory<FaultyConnection, FaultyError>,
    connect: gates.connect,
    validate: gates.validate,
    reset: gates.reset,
    settle: gates.settle,
    disconnect: gates.disconnect,
    kill: (connection) => Effect.asVoid(damage("killed")(connection)),
    drop: (connection) => Effect.map(damage("killed")(connection), (fake) => fake.died()),
    sever: (connection) => Effect.asVoid(damage("severed")(connection)),
    counters: Effect.sync(() => ({ ...counters })),
    log: Effect.sync(() => Array.from(log)),
    violations: Effect.sync(() => Array.from(violations))
  }
}

/** The state of one connection. */
interface FakeConnection {
  readonly id: number
  state: "open" | "severed" | "killed" | "closing" | "closed"
  isSoiled: boolean
  isRunning: boolean
  isUnfinished: boolean
  lease: Leased | undefined
  readonly died: () => void
  readonly statements: ConnectionFactory.Statements
}

/** A connection as one lease sees it. */
class Leased implements FaultyConnection {
  readonly id: number
  readonly fake: FakeConnection
  isExpired = false
  readonly run: Effect.Effect<void, FaultyError | LeaseExpiredError>
  readonly start: Effect.Effect<void, FaultyError | LeaseExpiredError>
  readonly statement: FaultyConnection["statement"]
  readonly soil: Effect.Effect<void, FaultyError | LeaseExpiredError>

  constructor(fake: FakeConnection, pool: string | undefined, log: Array<LogEntry>) {
    this.id = fake.id
    this.fake = fake
    const perform = (operation: "run" | "start") =>
      Effect.suspend((): Effect.Effect<void, FaultyError | LeaseExpiredError> => {
        if (this.isExpired) {
          return Effect.fail(new LeaseExpiredError({ ...(pool === undefined ? undefined : { pool }), operation }))
        }
        log.push({ operation, connection: fake.id })
        return fake.state === "open"
          ? Effect.void
          : Effect.fail(new FaultyError({ operation, connection: fake.id, isTransient: false }))
      })
    this.run = perform("run")
    this.start = Effect.andThen(
      perform("start"),
      Effect.sync(() => {
        fake.isRunning = true
      })
    )
    this.statement = (text, takes = 0) => fake.statements.run(text, Effect.andThen(this.run, Effect.sleep(takes)))
    this.soil = Effect.andThen(
      this.run,
      Effect.sync(() => {
        fake.isSoiled = true
      })
    )
  }
}

const table = makeTable({
  withoutIsAlive: { kind: "flag" },
  withoutValidate: { kind: "flag" },
  withoutReset: { kind: "flag" },
  judge: { kind: "value", accepts: Predicate.isFunction, mustBe: "a function from a Cause to a verdict" },
  interruptibleConnect: { kind: "flag" }
})
