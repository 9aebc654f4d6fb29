/**
 * A driver that fails on demand: connections to nothing, whose every operation can be held at a gate, made to fail, die,
 * hang or take its time, and is counted and logged. With it, code is tested against everything a pool can answer.
 *
 * It works with `TestClock`: nothing in here waits for real time.
 */
import { Data, type Duration, Effect, Predicate } from "effect"
import * as ConnectionFactory from "../ConnectionFactory.ts"
import { checkOrThrow } from "../internal/options/problems.ts"
import { mustBe, problem, table as makeTable, valueOf } from "../internal/options/rules.ts"
import { LeaseExpiredError } from "../PoolError.ts"

/** The operations that can be made to fail. */
export type Operation = "connect" | "validate" | "reset" | "disconnect"

/** What a `FaultyFactory` fails with. */
export class FaultyError extends Data.TaggedError("FaultyError")<{
  readonly operation: Operation | "run"
  /** The number of the connection; attempts to connect that fail have one too. */
  readonly connection: number
  /** What `isTransient` answers for it. */
  readonly isTransient: boolean
}> {
  override get message(): string {
    return `${this.operation} of connection ${this.connection} was made to fail`
  }
}

/** A connection to nothing. */
export interface FaultyConnection {
  /** 1 for the first attempt to connect, and so on. */
  readonly id: number
  /**
   * An operation that succeeds, and is logged as `run`. Fails with `FaultyError` once the connection was killed or
   * closed, and with `LeaseExpiredError` after the lease.
   */
  readonly run: Effect.Effect<void, FaultyError | LeaseExpiredError>
  /** Leaves something behind for `reset` to clean: a later lease that still finds it is a violation. */
  readonly soil: Effect.Effect<void, FaultyError | LeaseExpiredError>
}

/**
 * How one operation is to fail. What is asked for applies to the next operations that begin, in the order asked.
 *
 * `times` is a whole number, or `Infinity` for all until `clear`; anything else is a defect, a `TypeError`, and so are
 * invalid options.
 */
export interface Faults {
  /** Has operations wait, from now on, until they are let through. */
  readonly hold: Effect.Effect<void>
  /** Lets everything through that waits, and everything that comes. */
  readonly open: Effect.Effect<void>
  /**
   * Lets one through that waits: the one that has waited longest, or the one at this place among those waiting. Does
   * nothing if nobody waits there; a place that is no whole number is a defect, a `TypeError`.
   */
  readonly pass: (place?: number) => Effect.Effect<void>
  /** How many wait. */
  readonly waiting: Effect.Effect<number>
  /** The next `times` fail. Default: once, and not transiently. */
  readonly fail: (times?: number, options?: { readonly transient?: boolean | undefined }) => Effect.Effect<void>
  /** The next `times` die. */
  readonly die: (times?: number) => Effect.Effect<void>
  /**
   * The next `times` never end; with `uninterruptible`, not even when they are interrupted. (Connecting and
   * disconnecting are always uninterruptible, as with `Effect.acquireRelease`, unless the factory was made with
   * `interruptibleConnect`.)
   */
  readonly hang: (times?: number, options?: { readonly uninterruptible?: boolean | undefined }) => Effect.Effect<void>
  /** All take this long, from now on. */
  readonly delay: (duration: Duration.Input) => Effect.Effect<void>
  /** Forgets the faults that have yet to happen, and the delay. */
  readonly clear: Effect.Effect<void>
}

/** What has happened so far. */
export interface Counters {
  /** Attempts to connect that began. */
  readonly attempts: number
  /** Connections that were opened, and closed. */
  readonly opened: number
  readonly closed: number
  /** The most connections that were open at one moment, those included that an attempt was opening. */
  readonly mostOpen: number
  readonly validations: number
  readonly resets: number
  readonly leases: number
  /** Leases out now. */
  readonly leased: number
}

/** One line of the log: which operation began on which connection. */
export interface LogEntry {
  readonly operation: Operation | "run" | "begin lease" | "end lease"
  readonly connection: number
}

export interface FaultyFactory {
  readonly factory: ConnectionFactory.ConnectionFactory<FaultyConnection, FaultyError>
  readonly connect: Faults
  readonly validate: Faults
  readonly reset: Faults
  readonly disconnect: Faults
  /**
   * Breaks an open connection, in use or idle: it is no longer alive, and does not validate. Does nothing to one that
   * is closed or closing; the number of one that was never opened is a defect, a `TypeError`.
   */
  readonly kill: (connection: number) => Effect.Effect<void>
  /** Breaks an open connection, like `kill`, and has the driver report its death to the pool. */
  readonly drop: (connection: number) => Effect.Effect<void>
  /** Breaks an open connection, like `kill`, but so that only `validate` notices: a network that drops packets. */
  readonly sever: (connection: number) => Effect.Effect<void>
  readonly counters: Effect.Effect<Counters>
  readonly log: Effect.Effect<ReadonlyArray<LogEntry>>
  /**
   * What a pool has done that no pool may do: lend a connection twice, lend one that is closed, closing or soiled, end
   * a lease twice, close a connection twice or while its lease goes on.
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
  /** What a failure under a lease says about the connection. Default: it is not asked. */
  readonly judge?: ConnectionFactory.ConnectionFactory<FaultyConnection>["judge"]
  /** Lets an attempt to connect be interrupted. Default: it goes on until it has ended. */
  readonly interruptibleConnect?: boolean | undefined
}

/**
 * A new driver without any faults. Options that are invalid are a defect, a `TypeError` that lists what is wrong.
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

/** `make`, at once. */
export const makeUnsafe = (given?: Options): FaultyFactory => {
  const options = checkOrThrow("FaultyFactory.make", table, given)
  const log: Array<LogEntry> = []
  const violations: Array<string> = []
  const sessions = new Map<number, Session>()
  const counters = { attempts: 0, opened: 0, closed: 0, mostOpen: 0, validations: 0, resets: 0, leases: 0, leased: 0 }
  let opening = 0
  const gates = {
    connect: new Gate("connect"),
    validate: new Gate("validate"),
    reset: new Gate("reset"),
    disconnect: new Gate("disconnect")
  }
  const measure = () => {
    counters.mostOpen = Math.max(counters.mostOpen, counters.opened - counters.closed + opening)
  }
  const perform = (operation: Operation, connection: number): Effect.Effect<void, FaultyError> => {
    log.push({ operation, connection })
    return gates[operation].enter(connection)
  }

  const open = Effect.flatMap(ConnectionFactory.Died, (died) => {
    const id = ++counters.attempts
    opening++
    measure()
    return Effect.onExit(perform("connect", id), () =>
      Effect.sync(() => {
        opening--
      })).pipe(
        Effect.map(() => {
          const session: Session = { id, state: "open", isSoiled: false, lease: undefined, died }
          sessions.set(id, session)
          counters.opened++
          measure()
          return new Lent(session, undefined, log)
        })
      )
  })
  const close = ({ session }: Lent) =>
    Effect.suspend(() => {
      if (session.state === "closing" || session.state === "closed") {
        violations.push(`connection ${session.id} is closed twice`)
      }
      if (session.lease !== undefined) violations.push(`connection ${session.id} is closed while its lease goes on`)
      session.state = "closing"
      return Effect.ensuring(
        Effect.orDie(perform("disconnect", session.id)),
        Effect.sync(() => {
          session.state = "closed"
          counters.closed++
        })
      )
    })

  const factory = ConnectionFactory.make<Lent, FaultyError>({
    connect: Effect.acquireRelease(open, close, { interruptible: options.interruptibleConnect === true }) as never,
    isAlive: options.withoutIsAlive === true
      ? undefined
      : ({ session }) => session.state === "open" || session.state === "severed",
    validate: options.withoutValidate === true ? undefined : ({ session }) => {
      counters.validations++
      return Effect.map(perform("validate", session.id), () => session.state === "open")
    },
    reset: options.withoutReset === true ? undefined : ({ session }) => {
      counters.resets++
      return Effect.map(perform("reset", session.id), () => {
        session.isSoiled = false
      })
    },
    needsReset: ({ session }) => session.isSoiled || !gates.reset.isIdle,
    beginLease: ({ session }, pool) => {
      log.push({ operation: "begin lease", connection: session.id })
      if (session.lease !== undefined) violations.push(`connection ${session.id} is lent twice at once`)
      if (session.state === "closing" || session.state === "closed") {
        violations.push(`connection ${session.id} is lent, but ${session.state}`)
      }
      if (session.isSoiled) violations.push(`connection ${session.id} is lent soiled`)
      counters.leases++
      counters.leased++
      return session.lease = new Lent(session, pool, log)
    },
    endLease: (lent) => {
      log.push({ operation: "end lease", connection: lent.session.id })
      if (lent.session.lease !== lent) violations.push(`a lease of connection ${lent.session.id} ends twice`)
      lent.session.lease = undefined
      lent.isExpired = true
      counters.leased--
    },
    judge: given?.judge,
    isTransient: (error) => error.isTransient
  })
  const damage = (state: "killed" | "severed") => (connection: number) =>
    Effect.sync(() => {
      const session = sessions.get(connection)
      if (session === undefined) {
        throw new TypeError(problem("connection", connection, "the id of one that was opened").message)
      }
      if (session.state === "open" || session.state === "severed") session.state = state
      return session
    })
  return {
    factory: factory as unknown as ConnectionFactory.ConnectionFactory<FaultyConnection, FaultyError>,
    connect: gates.connect,
    validate: gates.validate,
    reset: gates.reset,
    disconnect: gates.disconnect,
    kill: (connection) => Effect.asVoid(damage("killed")(connection)),
    drop: (connection) => Effect.map(damage("killed")(connection), (session) => session.died()),
    sever: (connection) => Effect.asVoid(damage("severed")(connection)),
    counters: Effect.sync(() => ({ ...counters })),
    log: Effect.sync(() => Array.from(log)),
    violations: Effect.sync(() => Array.from(violations))
  }
}

interface Session {
  readonly id: number
  state: "open" | "severed" | "killed" | "closing" | "closed"
  isSoiled: boolean
  lease: Lent | undefined
  readonly died: () => void
}

/** What one lease sees of a session. */
class Lent implements FaultyConnection {
  readonly id: number
  readonly session: Session
  isExpired = false
  readonly run: Effect.Effect<void, FaultyError | LeaseExpiredError>
  readonly soil: Effect.Effect<void, FaultyError | LeaseExpiredError>

  constructor(session: Session, pool: string | undefined, log: Array<LogEntry>) {
    this.id = session.id
    this.session = session
    this.run = Effect.suspend((): Effect.Effect<void, FaultyError | LeaseExpiredError> => {
      if (this.isExpired) {
        return Effect.fail(new LeaseExpiredError({ ...(pool === undefined ? undefined : { pool }), operation: "run" }))
      }
      log.push({ operation: "run", connection: session.id })
      return session.state === "open"
        ? Effect.void
        : Effect.fail(new FaultyError({ operation: "run", connection: session.id, isTransient: false }))
    })
    this.soil = Effect.andThen(
      this.run,
      Effect.sync(() => {
        session.isSoiled = true
      })
    )
  }
}

type Fault =
  | { readonly _tag: "fail"; readonly transient: boolean }
  | { readonly _tag: "die" }
  | { readonly _tag: "hang"; readonly uninterruptible: boolean }

/** The same fault for the next operations, as many as are left. */
interface Plan {
  readonly fault: Fault
  left: number
}

class Gate implements Faults {
  readonly #operation: Operation
  readonly #planned: Array<Plan> = []
  readonly #held: Array<() => void> = []
  #isHeld = false
  #delay = 0

  constructor(operation: Operation) {
    this.#operation = operation
  }

  /** Whether the operation would do nothing but succeed. */
  get isIdle(): boolean {
    return !this.#isHeld && this.#planned.length === 0 && this.#delay === 0
  }

  readonly hold = Effect.sync(() => {
    this.#isHeld = true
  })

  readonly open = Effect.sync(() => {
    this.#isHeld = false
    for (const pass of this.#held.splice(0)) pass()
  })

  readonly waiting = Effect.sync(() => this.#held.length)

  pass(place = 0) {
    return Effect.sync(() => {
      checkCount("place", place)
      for (const pass of this.#held.splice(place, 1)) pass()
    })
  }

  fail(times = 1, options?: { readonly transient?: boolean | undefined }) {
    return this.#plan(times, () => ({
      _tag: "fail",
      transient: checkOrThrow("fail", failTable, options).transient === true
    }))
  }

  die(times = 1) {
    return this.#plan(times, () => ({ _tag: "die" }))
  }

  hang(times = 1, options?: { readonly uninterruptible?: boolean | undefined }) {
    return this.#plan(times, () => ({
      _tag: "hang",
      uninterruptible: checkOrThrow("hang", hangTable, options).uninterruptible === true
    }))
  }

  delay(duration: Duration.Input) {
    return Effect.sync(() => {
      this.#delay = checkOrThrow("delay", delayTable, { delay: duration }).delay
    })
  }

  readonly clear = Effect.sync(() => {
    this.#planned.length = 0
    this.#delay = 0
  })

  #plan(times: number, fault: () => Fault) {
    return Effect.sync(() => {
      checkCount("times", times)
      if (times > 0) this.#planned.push({ fault: fault(), left: times })
    })
  }

  /** The fault of the operation that begins now. */
  #next(): Fault | undefined {
    const plan = this.#planned[0]
    if (plan === undefined) return undefined
    plan.left--
    if (plan.left === 0) this.#planned.shift()
    return plan.fault
  }

  /** One operation comes by. The fault that befalls it is decided now, and happens once it is let through. */
  enter(connection: number): Effect.Effect<void, FaultyError> {
    const fault = this.#next()
    const slow = this.#delay === 0 ? Effect.void : Effect.sleep(this.#delay)
    const passed = this.#isHeld ? Effect.andThen(this.#wait, slow) : slow
    return fault === undefined ? passed : Effect.andThen(passed, this.#befall(fault, connection))
  }

  readonly #wait = Effect.callback<void>((resume) => {
    const pass = () => resume(Effect.void)
    this.#held.push(pass)
    return Effect.sync(() => {
      const place = this.#held.indexOf(pass)
      if (place >= 0) this.#held.splice(place, 1)
    })
  })

  #befall(fault: Fault, connection: number): Effect.Effect<void, FaultyError> {
    switch (fault._tag) {
      case "fail":
        return Effect.fail(new FaultyError({ operation: this.#operation, connection, isTransient: fault.transient }))
      case "die":
        return Effect.die(new Error(`${this.#operation} of connection ${connection} was made to die`))
      case "hang":
        return fault.uninterruptible ? Effect.uninterruptible(Effect.never) : Effect.never
    }
  }
}

const checkCount = (name: string, value: number): void => {
  const rule = { kind: "count", floor: 0 } as const
  if (valueOf(rule, value) === undefined) throw new TypeError(problem(name, value, mustBe(rule)).message)
}

const table = makeTable({
  withoutIsAlive: { kind: "flag" },
  withoutValidate: { kind: "flag" },
  withoutReset: { kind: "flag" },
  judge: { kind: "value", accepts: Predicate.isFunction, mustBe: "a function from a Cause to a verdict" },
  interruptibleConnect: { kind: "flag" }
})

const failTable = makeTable({ transient: { kind: "flag" } })

const hangTable = makeTable({ uninterruptible: { kind: "flag" } })

const delayTable = makeTable({ delay: { kind: "duration", default: 0, zero: true } })
