/** The factory of connections to PostgreSQL. */
import * as Driver from "@effect/sql-pg/PgConnection"
import { Duration, Effect, Redacted, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as ConnectionFactory from "../../../ConnectionFactory.ts"
import type { PgConnection } from "../contract/connection.ts"
import type { StatementTexts } from "../sql/statementText.ts"
import { isTransient, sqlStateOf, toSqlError } from "../sqlState.ts"
import { toConnectError } from "./connectFailures.ts"
import { Leased, leasedOf, sessionOf } from "./leased.ts"
import * as Passwords from "./passwords.ts"
import { Session } from "./session.ts"
import { type Address, Wire } from "./wire.ts"

export interface Settings {
  readonly address: Address
  readonly cancelTimeoutMillis: number
  /** Whether there is a pooler in between, where only a transaction keeps its session. */
  readonly isPooled: boolean
  /** Whether there is a pooler in between that keeps the session. */
  readonly isOfSession: boolean
  /** Whether its sessions are meant to read only. */
  readonly isReadOnly: boolean
  /** The settings of the driver, without those that say where the server is. */
  readonly driver: Omit<Driver.Config, "password">
  readonly password: Passwords.Password | undefined
}

/** Opens a session at an address, for the current scope. */
export type OpenAt = (address: Address, died: () => void) => Effect.Effect<Session, SqlError, Scope.Scope>

/** Where sessions are opened, and which of them may be lent, where there are several hosts. */
export interface Choice {
  readonly open: (at: OpenAt, died: () => void) => Effect.Effect<Session, SqlError, Scope.Scope>
  readonly mayLend: (session: Session) => boolean
}

export const factoryOf = (
  settings: Settings,
  texts: StatementTexts,
  choice?: Choice
): ConnectionFactory.ConnectionFactory<PgConnection, SqlError> => {
  const at: OpenAt = (address, died) => open({ ...settings, address }, texts, died)
  const opened = choice === undefined
    ? (died: () => void) => at(settings.address, died)
    : (died: () => void) => choice.open(at, died)
  return ConnectionFactory.make<PgConnection, SqlError>({
    connect: (died) => Effect.map(opened(died), (session) => new Leased(session, undefined)),
    isAlive: choice === undefined
      ? (connection) => sessionOf(connection).mayBeLent
      : (connection) => {
        const session = sessionOf(connection)
        return session.mayBeLent && choice.mayLend(session)
      },
    validate: (connection) => sessionOf(connection).validate,
    needsReset: (connection) => sessionOf(connection).needsReset,
    isInTransaction: (connection) => sessionOf(connection).isInTransaction,
    reset: (connection) => sessionOf(connection).reset,
    beginLease: (connection, pool) => new Leased(sessionOf(connection), pool),
    endLease: (lent) => leasedOf(lent).expire(),
    unfinished: (connection) => {
      const session = sessionOf(connection)
      const description = session.running
      return description === undefined ? undefined : { settled: session.settle, description }
    },
    // The session sees itself whether the server has answered each statement, and whether the socket is open.
    judge: () => "healthy",
    isTransient
  })
}

/** Opens a session for the current scope. */
export const open = (
  { address, cancelTimeoutMillis, driver, isOfSession, isPooled, isReadOnly, password: given }: Settings,
  texts: StatementTexts,
  died: () => void
): Effect.Effect<Session, SqlError, Scope.Scope> =>
  Effect.gen(function*() {
    const statements = yield* ConnectionFactory.Statements
    // Nobody else can read what goes through a socket in the file system, and the server encrypts nothing there.
    const ssl = address.path === undefined ? driver.ssl : false
    let last: Wire | undefined
    const attempt = Effect.fnUntraced(function*(password: string | undefined) {
      const wire: Wire = new Wire(address, cancelTimeoutMillis, ssl !== undefined && ssl !== false, () => {
        if (wire === last) died()
      })
      last = wire
      // After the driver has said goodbye.
      yield* Effect.addFinalizer(() => wire.close)
      const connection = yield* Driver.make({
        ...driver,
        ssl,
        password: password === undefined ? undefined : Redacted.make(password),
        host: address.host,
        port: address.port,
        stream: wire.open,
        // The pool has a deadline of its own, and tells what passed it.
        connectTimeout: Duration.infinity
      })
      return { connection, wire }
    })
    const password = yield* Passwords.resolve(given)
    const [first, second] = password === undefined ? [undefined] : Passwords.formsOf(password)
    const { connection, wire } = yield* second === undefined
      ? attempt(first)
      : Effect.catchIf(attempt(first), (error) => sqlStateOf(error) === "28P01", () => attempt(second))
    // The last word of the server, if it had one: the driver has kept it, and tells nobody until it is asked.
    const explained = Effect.flatMap(
      Effect.flip(connection.query("select 1")),
      (error) => Effect.sync(() => wire.explain(toSqlError(error)))
    )
    yield* Effect.forkScoped(Effect.ignoreCause(Effect.andThen(wire.closed, explained)))
    return new Session({ driver: connection, wire, statements, texts, isPooled, isOfSession, isReadOnly })
  }).pipe(Effect.mapError(toConnectError))
