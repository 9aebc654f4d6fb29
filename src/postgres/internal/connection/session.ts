/**
 * One session with the server: runs its statements one after the other, and knows what they leave behind.
 *
 * Whether a transaction is open is known from the statements that have ended. Where that cannot be known (a `begin` was
 * interrupted), it counts as open, and the rollback that follows does no harm.
 */
import type { PgConnection as Driver } from "@effect/sql-pg/PgConnection"
import { Cause, Effect, type Exit, Stream } from "effect"
import { ConnectionError, isSqlError, SqlError } from "effect/sql/SqlError"
import type { Statements } from "../../../ConnectionFactory.ts"
import { Recording } from "../../../internal/pool/recording.ts"
import { denied, invalidInput, invalidSql, noPrimary, NotSent, notSent } from "../errors.ts"
import { whyNotPooled } from "../sql/pooled.ts"
import { cleaning, Dirt, type StatementTexts, type Text } from "../sql/statementText.ts"
import { isLost, sqlStateOf, toSqlError } from "../sqlState.ts"
import { ControlDeadlines } from "./controlDeadlines.ts"
import { Deadline } from "./deadline.ts"
import { problemOf } from "./parameters.ts"
import { type Check, type Owner, StatementRun } from "./statementRun.ts"
import { Ticket, Turns } from "./turns.ts"
import type { Wire } from "./wire.ts"

/** What a session is made of. */
export interface Parts {
  readonly driver: Driver
  readonly wire: Wire
  readonly statements: Statements
  readonly texts: StatementTexts
  /** Whether there is a pooler in between, where only a transaction keeps its session. */
  readonly isPooled: boolean
  /** Whether there is a pooler in between that keeps the session. */
  readonly isOfSession: boolean
  /** Whether it is meant to read only. */
  readonly isReadOnly: boolean
}

export class Session {
  readonly driver: Driver
  readonly #wire: Wire
  readonly #statements: Statements
  readonly texts: StatementTexts
  readonly #isPooled: boolean
  /** Whether it is meant to read only. */
  readonly #isReadOnly: boolean
  /** Whether its process is known to be its own, as long as it is open. */
  #isKept: boolean
  readonly #turns = new Turns()
  /** The session, for the runs of its statements. */
  readonly #owner: Owner
  /** Whether it has refused a write that nothing in it forbids: its server is no primary any more. */
  #refusesWrites = false
  #isInTransaction = false
  /** Whether a transaction was open when the last statement began. */
  #wasInTransaction = false
  /** Whether the open transaction was told to refuse writes, as far as the texts tell. */
  #isReadTransaction = false
  #dirt: number = Dirt.none
  /** Whether a stream of rows has the wire. */
  #isStreaming = false
  #running: string | undefined = undefined
  readonly #waiting = new Set<() => void>()

  constructor({ driver, isOfSession, isPooled, isReadOnly, statements, texts, wire }: Parts) {
    this.driver = driver
    this.#wire = wire
    this.#statements = statements
    this.texts = texts
    this.#isPooled = isPooled
    this.#isKept = isOfSession
    this.#isReadOnly = isReadOnly
    this.#owner = {
      turns: this.#turns,
      deadlines: new ControlDeadlines(),
      recorder: statements instanceof Recording ? statements.recorder : undefined,
      problemOf: (operation, text, params) => this.#problemOf(operation, text, params),
      lost: (operation) => this.#lost(operation),
      begun: (text) => this.#begun(text),
      ended: (text, exit) => this.#ended(text, exit),
      late: (operation, millis) => this.#late(operation, millis)
    }
  }

  get isAlive(): boolean {
    return this.#wire.isOpen && !this.#wire.isDoubtful
  }

  /** Whether it may have another lease. */
  get mayBeLent(): boolean {
    return this.isAlive && !this.#refusesWrites
  }

  /** Whether a transaction is open, as far as the statements tell that have ended. */
  get isInTransaction(): boolean {
    return this.#isInTransaction
  }

  get needsReset(): boolean {
    return this.#isInTransaction || this.#dirt !== Dirt.none
  }

  /** The statement that runs now. */
  get running(): string | undefined {
    return this.#running
  }

  /** Runs one statement. `query` is made when it is its turn. At its deadline the session is ended, and the error names `late`. */
  run<A, E>(
    operation: string,
    text: Text,
    params: ReadonlyArray<unknown>,
    query: () => Effect.Effect<A, SqlError>,
    check: Check<E>,
    millis = Infinity,
    late = operation
  ): Effect.Effect<A, SqlError | E> {
    const run = new StatementRun<A, E>(this.#owner, { operation, text, params, query, check, millis, late })
    const ran = Effect.mapError(
      this.#owner.recorder === undefined ? this.#statements.run(text.sql, run) : run,
      (error) => isSqlError(error) ? this.#explained(text, error) : error
    )
    return this.#mayLeave(text)
      ? ran
      : Effect.andThen(this.keptFor(operation, text.sql, () => this.#process(millis, late)), ran)
  }

  /** Whether the pool measures statements. */
  get isMeasured(): boolean {
    return this.#statements.isMeasured
  }

  /** Tells the pool of a statement that runs beside others. */
  recorded<A, E, R>({ sql }: Text, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return this.#statements.run(sql, effect)
  }

  /** Runs a statement of this library, without parameters. */
  control(sql: string): Effect.Effect<{ readonly command: string }, SqlError> {
    return this.controlWithin(sql, sql, Infinity)
  }

  /**
   * Runs a statement that begins or ends a transaction or a savepoint. At its deadline the session is ended: that costs less than to
   * wait for it in a fiber of its own.
   */
  controlWithin(operation: string, sql: string, millis: number): Effect.Effect<{ readonly command: string }, SqlError> {
    return this.run(sql, this.texts.read(sql), [], () => this.driver.query(sql), unchecked, millis, operation)
  }

  /** Runs an effect that waits for the server. At the deadline the session is ended, and with it what runs on it. */
  within<A, E, R>(operation: string, effect: Effect.Effect<A, E, R>, millis: number): Effect.Effect<A, E, R> {
    if (millis === Infinity) return effect
    return Effect.suspend(() => {
      const deadline = new Deadline(millis, () => this.#late(operation, millis))
      return Effect.onExitPrimitive(effect, () => {
        deadline.stop()
        return undefined
      })
    })
  }

  /** The rows of a statement as a stream, which has the wire until it ends. */
  stream<A, E>(
    text: Text,
    params: ReadonlyArray<unknown>,
    rows: () => Stream.Stream<A, SqlError>,
    check: Check<E>
  ): Stream.Stream<A, SqlError | E> {
    const begun = Effect.uninterruptibleMask((restore) =>
      Effect.gen({ self: this }, function*() {
        const problem = this.#problemOf("stream", text, params) ?? uncontrolled(text)
        if (problem !== undefined) return yield* Effect.fail(problem)
        const ticket = new Ticket()
        yield* Effect.addFinalizer(() => Effect.sync(() => this.#turns.leave(ticket)))
        yield* restore(this.#turns.wait(ticket))
        if (!this.#mayLeave(text)) yield* restore(this.keptFor("stream", text.sql, () => processOf(this.driver)))
        const refusal = check() ?? this.#lost("stream")
        if (refusal !== undefined) return yield* Effect.fail(refusal)
        this.#isStreaming = true
        this.#begun(text)
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            this.#isStreaming = false
            this.#ended(text, undefined)
          })
        )
        const explained = Stream.mapError(rows(), (error) => {
          this.#noteRefusal(text, error)
          return this.#explained(text, error)
        })
        return this.#statements.stream(text.sql, explained)
      })
    )
    return Stream.unwrap(begun)
  }

  /** Whether the session works. */
  get validate(): Effect.Effect<boolean, SqlError> {
    return Effect.as(this.control("select 1"), true)
  }

  /**
   * Fails if there is a pooler in between of which the options do not tell: what it does not keep would be missed without an error,
   * and others would get it. The server is asked once for each session.
   */
  keptFor(operation: string, what: string, ask = () => this.#process()): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      if (this.#isKept) return Effect.void
      return Effect.flatMap(ask(), (process) => {
        this.#isKept = process === this.driver.processId
        return this.#isKept ? Effect.void : Effect.fail(denied(operation, what, notKept))
      })
    })
  }

  /** Asks for the process of the server when it is its turn. */
  #process(millis = Infinity, late = "query"): Effect.Effect<unknown, SqlError> {
    return this.run("query", this.texts.read(askProcess), [], () => processOf(this.driver), unchecked, millis, late)
  }

  /** Removes what the last lease has left, and nothing else. Fails if something cannot be removed. */
  get reset(): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      const rolledBack = this.#isInTransaction ? Effect.asVoid(this.control("rollback")) : Effect.void
      return Effect.andThen(
        rolledBack,
        Effect.suspend(() => {
          const dirt = this.#dirt
          if ((dirt & Dirt.session) !== 0) {
            return Effect.fail(
              invalidInput("reset", "the lease has changed what cannot be reset: the connection is replaced")
            )
          }
          const cleaned = Effect.forEach(cleaning(dirt), (sql) => this.control(sql), { discard: true })
          return Effect.andThen(
            cleaned,
            Effect.sync(() => {
              this.#dirt = Dirt.none
            })
          )
        })
      )
    })
  }

  /** Cancels what still runs, and waits for its end. The wire limits that wait. */
  get settle(): Effect.Effect<void> {
    return Effect.andThen(
      Effect.suspend(() => this.#running === undefined ? Effect.void : this.driver.interrupt),
      Effect.callback<void>((resume) => {
        if (this.#running === undefined) return resume(Effect.void)
        const done = () => resume(Effect.void)
        this.#waiting.add(done)
        return Effect.sync(() => this.#waiting.delete(done))
      })
    )
  }

  /** Ends when the session has ended. */
  get closed(): Effect.Effect<void> {
    return this.#wire.closed
  }

  /** The only advisory lock of the lease was given back. */
  unlocked(): void {
    this.#dirt &= ~Dirt.locks
  }

  /** Whether nothing has to be asked before a statement leaves what it leaves. Behind a pooler that keeps none, it is refused. */
  #mayLeave({ dirt }: Text): boolean {
    return dirt === Dirt.none || this.#isKept || this.#isPooled
  }

  /** Ends the session, which must not be used any more. */
  abort(reason: string): void {
    this.#wire.destroy(reason)
  }

  /** A transaction has ended with the session, so there is nothing to roll back. */
  forgetTransaction(): void {
    this.#isInTransaction = false
  }

  #late(operation: string, millis: number): void {
    this.#wire.destroy(`${operation} was not answered within ${millis} ms (controlTimeout)`)
  }

  /** The error for a statement that is not sent, because the session is lost. */
  #lost(operation: string): SqlError | undefined {
    if (this.isAlive) return undefined
    // The transaction has ended with the session.
    this.#isInTransaction = false
    return notSent(operation, this.#wire.reason ?? "the server has closed it")
  }

  /** The error as the caller gets it. If the session was ended from here, or its server is no primary, it says so. */
  #explained(text: Text, error: SqlError): SqlError {
    if (this.#refusesWrites && isRefusal(text, sqlStateOf(error))) return noPrimary(toSqlError(error))
    const { cause, operation } = error.reason
    const why = this.#wire.reason
    if (why === undefined || cause instanceof NotSent || !isLost(error) || sqlStateOf(error) !== undefined) {
      return toSqlError(error)
    }
    const message = `the connection was lost: ${why}`
    return new SqlError({ reason: new ConnectionError({ cause, message, operation: operation ?? "query" }) })
  }

  #problemOf(operation: string, text: Text, params: ReadonlyArray<unknown>): SqlError | undefined {
    if (text.invalid !== undefined) return invalidSql(operation, `${operation}: ${text.invalid}`)
    const problem = problemOf(text, params)
    if (problem !== undefined) return invalidInput(operation, `${operation}: ${problem}`)
    const why = this.#isPooled ? whyNotPooled(text, this.#isInTransaction) : undefined
    if (why !== undefined) return denied(operation, text.sql, why)
    return this.#isStreaming
      ? invalidInput(
        operation,
        `${operation}: a stream of rows is open on this connection, and a connection runs one statement at a time: ` +
          "end the stream first, or run it on another connection"
      )
      : undefined
  }

  #begun(text: Text): void {
    this.#running = text.sql
    this.#dirt |= text.dirt
    this.#wasInTransaction = this.#isInTransaction
    // Until its end is seen, it may have begun.
    if (text.control === "begin") this.#isInTransaction = true
    if (text.control === "begin" || text.forbidsWrites) this.#isReadTransaction = text.forbidsWrites
  }

  #ended(text: Text, exit: Exit.Exit<unknown, SqlError> | undefined): void {
    this.#running = undefined
    this.#wire.settled()
    if (!this.#wire.isOpen) this.#isInTransaction = false
    else if (exit !== undefined) this.#follow(text, exit)
    if (this.#waiting.size === 0) return
    for (const done of this.#waiting) done()
    this.#waiting.clear()
  }

  /** What the end of a statement says about the transaction. */
  #follow(text: Text, exit: Exit.Exit<unknown, SqlError>): void {
    const { control } = text
    if (exit._tag === "Success") {
      const { command } = exit.value as { readonly command?: string }
      // What the server has done counts more than the text.
      if (command === "BEGIN" || command === "START") this.#isInTransaction = true
      else if (control === "end") this.#isInTransaction = false
      return
    }
    const error = Cause.squash(exit.cause)
    // What the server has refused has begun nothing.
    if (control === "begin" && sqlStateOf(error) !== undefined) this.#isInTransaction = this.#wasInTransaction
    this.#noteRefusal(text, error)
  }

  /** Notes that the server takes no writes, unless this session was told to refuse them. */
  #noteRefusal(text: Text, error: unknown): void {
    if (!isRefusal(text, sqlStateOf(error))) return
    const isOwnWish = this.#isReadOnly || this.#dirt !== Dirt.none ||
      (this.#wasInTransaction && this.#isReadTransaction)
    if (!isOwnWish) this.#refusesWrites = true
  }
}

const askProcess = "select pg_backend_pid()"

/** The process of the server behind a connection. Through a pooler, the driver knows another number. */
export const processOf = (driver: Driver): Effect.Effect<unknown, SqlError> =>
  Effect.map(driver.queryValues(askProcess), ([row]) => row?.[0])

const notKept =
  "there is a pooler such as PgBouncer in between, which may give each transaction another session: set the option pooler to " +
  "\"session\" if it keeps the session of each client, or else to \"transaction\""

const unchecked: Check<never> = () => undefined

/** Whether a server has refused a write. A standby refuses to begin what may write with 0A000, and a write with 25006. */
const isRefusal = ({ control }: Text, state: string | undefined): boolean =>
  state === "25006" || (state === "0A000" && control === "begin")

const uncontrolled = ({ control, sql }: Text): SqlError | undefined =>
  control === undefined ? undefined : denied("stream", sql, "it returns no rows, so run it as a query")
