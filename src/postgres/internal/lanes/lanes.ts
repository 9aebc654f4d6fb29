/**
 * The connections that reads share, and which read may run on them.
 *
 * A read never waits for a shared connection: while there is none, or none that would answer soon, it runs on a connection of its
 * own. What a shared connection refuses or loses has changed nothing, so it runs again there.
 */
import { type Context, Deferred, Effect, type Exit, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { ConnectionPool } from "../../../ConnectionPool.ts"
import * as AsyncContext from "../../../internal/structures/asyncContext.ts"
import { forkWith } from "../../../internal/structures/ownFibers.ts"
import * as Alarm from "../../../internal/structures/timer.ts"
import { sessionOf } from "../connection/leased.ts"
import { problemOf } from "../connection/parameters.ts"
import type { Session } from "../connection/session.ts"
import type { PgConnection } from "../contract/connection.ts"
import { mayShare } from "../sql/mayShare.ts"
import { Sharing } from "../sql/sharing.ts"
import type { StatementTexts, Text } from "../sql/statementText.ts"
import { Lane, slowMillisOf } from "./lane.ts"
import { Numbers } from "./numbers.ts"
import type { Settings } from "./settings.ts"

export interface Options {
  readonly settings: Settings
  /** The pool of the shared connections. */
  readonly pool: ConnectionPool<PgConnection, SqlError>
  readonly texts: StatementTexts
  /** Whether a session may still be used. Not set: always, while it is alive. */
  readonly mayLend: ((session: Session) => boolean) | undefined
  /** Where the lanes live. It is closed after the pool. */
  readonly scope: Scope.Scope
  readonly context: Context.Context<never>
}

/** A place for one lane. */
interface Slot {
  lane: Lane | undefined
  /** Whether a lane is being opened, is open, or gives its connection back. */
  isTaken: boolean
  /** No attempt is made before this time. */
  pausedUntil: number
  /** How many reads may be on their way at first. */
  window: number
}

/** A further lane is opened when so many reads are on their way on each of the others. */
const busy = 8

/** How many reads may be on their way until it has shown how soon they are answered. */
const firstWindow = 8

/** The pause after a connection could not be opened. The pool has its own backoff; this is for what it does not try again. */
const pauseMillis = 1000

export class Lanes {
  readonly numbers = new Numbers()
  readonly texts: StatementTexts
  readonly #options: Options
  readonly #slots: ReadonlyArray<Slot>
  readonly now: () => number
  readonly #fork: ReturnType<typeof forkWith>
  readonly #slowMillis: number
  #isClosed = false

  constructor(options: Options) {
    this.#options = options
    this.#fork = forkWith(options.context, AsyncContext.capture())
    this.texts = options.texts
    this.now = Alarm.make(options.context, () => {}).now
    this.#slowMillis = slowMillisOf(options.settings.timeoutMillis)
    this.#slots = Array.from({ length: options.settings.max }, () => ({
      lane: undefined,
      isTaken: false,
      pausedUntil: -Infinity,
      window: Math.min(firstWindow, options.settings.maxInFlight)
    }))
  }

  /** What is known of a text. */
  sharingOf(text: Text): Sharing {
    return text.sharing ??= new Sharing(mayShare(text, this.#options.settings.functions))
  }

  /** The lane for a read. `undefined`: it runs on a connection of its own. */
  laneFor(text: Text, params: ReadonlyArray<unknown>): Lane | undefined {
    return this.sharingOf(text).isAdmitted && problemOf(text, params) === undefined ? this.#pick() : undefined
  }

  /** Runs a statement on a connection of its own. If it may share one, it is seen here whether it is quick. */
  timed<A, E, R>(text: Text, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    const sharing = this.sharingOf(text)
    if (!sharing.isOnTrial) return effect
    return Effect.suspend(() => {
      const begunAt = this.now()
      return Effect.map(effect, (value) => {
        sharing.ran(this.now() - begunAt <= this.#slowMillis)
        return value
      })
    })
  }

  /** Gives all connections back, once nothing runs on them. Later reads get others. */
  retire(): void {
    for (const { lane } of this.#slots) lane?.leave()
  }

  /** Sends nothing more. */
  close(): void {
    this.#isClosed = true
    this.retire()
  }

  /** Whether a read that passes the time limit is out of its own time too. */
  get isOwnTimeout(): boolean {
    return this.#options.settings.isOwnTimeout
  }

  get open(): number {
    return this.#slots.filter(({ lane }) => lane !== undefined).length
  }

  get inFlight(): number {
    return this.#slots.reduce((sum, { lane }) => sum + (lane?.waiting ?? 0), 0)
  }

  #pick(): Lane | undefined {
    let best: Lane | undefined
    let free: Slot | undefined
    for (const slot of this.#slots) {
      const { lane } = slot
      if (lane === undefined) {
        if (!slot.isTaken) free ??= slot
      } else if (lane.isFree && (best === undefined || lane.inFlight < best.inFlight)) {
        if (this.#options.mayLend === undefined || this.#options.mayLend(lane.session)) best = lane
        else lane.leave()
      }
    }
    if (free !== undefined && (best === undefined || best.inFlight >= busy)) this.#open(free)
    return best
  }

  /** Opens a lane in the background. */
  #open(slot: Slot): void {
    if (this.#isClosed || this.now() < slot.pausedUntil) return
    slot.isTaken = true
    const { scope } = this.#options
    const life = Effect.onExit(this.#life(slot), (exit) => Effect.sync(() => this.#ended(slot, exit)))
    this.#fork(Effect.forkIn(Effect.ignoreCause(life), scope))
  }

  #ended(slot: Slot, exit: Exit.Exit<void, unknown>): void {
    slot.isTaken = false
    if (exit._tag === "Failure") slot.pausedUntil = this.now() + pauseMillis
  }

  /** The life of one lane: as long as it has a connection. */
  #life(slot: Slot): Effect.Effect<void, unknown> {
    const { context, pool, settings } = this.#options
    return Effect.scoped(Effect.gen({ self: this }, function*() {
      const session = sessionOf(yield* pool.acquire({ label: "shared reads" }))
      const hasLeft = Deferred.makeUnsafe<void>()
      const lane = new Lane({
        session,
        now: this.now,
        window: slot.window,
        mostInFlight: settings.maxInFlight,
        timeoutMillis: settings.timeoutMillis,
        left: () => Deferred.doneUnsafe(hasLeft, Effect.void),
        probe: (lane, ended) => {
          const probe = this.#fork(Effect.exit(lane.driver.query("select 1")))
          probe.addObserver(ended)
        }
      })
      const alarm = Alarm.make(context, (now) => {
        alarm.set(now + lane.look(now), false)
      })
      alarm.set(this.now(), false)
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          alarm.stop()
          slot.lane = undefined
          slot.window = lane.window
        })
      )
      slot.lane = lane
      if (this.#isClosed) lane.leave()
      yield* Effect.raceFirst(Deferred.await(hasLeft), session.closed)
    }))
  }
}
