/**
 * Effect's `SqlClient` over a pool that reads and a pool that writes.
 *
 * A statement on its own takes a connection for as long as it runs: a reader's if its text only reads, else the writer's. A
 * reader refuses what turns out to write, and has changed nothing then, so the writer gets it. Inside a transaction every
 * statement runs on that one's connection.
 *
 * For the rest of this folder: `Client.joined` is the connection of the transaction that a fiber is in. Whatever works on a
 * connection asks for it first, and takes one from a pool only if there is none. Whether that transaction may write is in
 * `Client.transactor.connectionOf(fiber).mode`.
 */
import { Context, Effect, type Fiber, identity, Stream } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { Acquirer, Borrower, Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import type { ConnectionPool } from "../../../ConnectionPool.ts"
import { within } from "../../../internal/step.ts"
import * as HeardReactivity from "../../../internal/transaction/reactivity.ts"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import { LockTimeout, withBusyTimeout } from "../../../sqlite-node/internal/busyTimeoutPragma.ts"
import { ByHand } from "../../../sqlite-node/internal/manualTransaction.ts"
import type * as Transaction from "../../../Transaction.ts"
import * as Transactor from "../../../Transactor.ts"
import { failure, handleOf, type Params, type SqliteConnection } from "../../SqliteConnection.ts"
import { codeOf, primaryOf } from "../connection/errors.ts"
import type { Lasting } from "../connection/lasting.ts"
import { mayStartLater, retryWhileLocked } from "../connection/retryWhileLocked.ts"
import { type Kind, Kinds, uncontrolled } from "../sql/statementKind.ts"
import * as Statements from "./effectStatement.ts"
import type { OwnOptions } from "./foreignKeys.ts"
import { startReading, streamFrom } from "./openStream.ts"
import * as Dialect from "./sqliteDialect.ts"
import { type Action, isSuccess, type Place, placeOf, type Query, toConnection, type Transform } from "./targets.ts"
import { Joined } from "./transactionConnection.ts"

type Pool = ConnectionPool<SqliteConnection, SqlError>

interface Held {
  readonly side: "read" | "write"
  readonly connection: SqliteConnection
}

type Failure = Parameters<typeof sqlErrorOf>[0]

export interface Options {
  /** How the database is called in errors. */
  readonly name: string
  /** A pool of one connection that may write. */
  readonly writer: Pool
  /** A pool of connections that only read. In memory there is nothing else than the writer: the same pool. */
  readonly reader: Pool
  /** How long what starts work goes on trying while another process has a lock, in milliseconds. */
  readonly busyTimeout: number
  /** Whether the database is only read, so that what is a transaction elsewhere is one that only reads. Default false. */
  readonly isReadOnly?: boolean | undefined
  /**
   * Whether statements may begin and end transactions, and set `busy_timeout`, as where there is only one connection.
   * Default false: that is refused, and a setting.
   */
  readonly imitatesOneConnection?: boolean | undefined
  /** What statements have changed about their connection, where that lasts. */
  readonly lasting?: Lasting | undefined
  /** The connection that a fiber has already, and for what, where there is no other: in memory. */
  readonly heldBy?: ((fiber: Fiber.Fiber<unknown, unknown>) => Held | undefined) | undefined
  readonly spanAttributes?: Readonly<Record<string, unknown>> | undefined
  /** Names of columns as they are to appear in rows. */
  readonly transformResultNames?: ((name: string) => string) | undefined
  /** Identifiers as they are to appear in SQL. */
  readonly transformQueryNames?: ((name: string) => string) | undefined
}

export interface Client {
  readonly sql: SqlClient.SqlClient
  /** The connection of the transaction that a fiber is in, if it is in one of this client's. */
  readonly joined: (fiber: Fiber.Fiber<unknown, unknown>) => SqliteConnection | undefined
  readonly transactor: Transaction.Transactor<SqliteConnection, Dialect.Isolation, SqlError, OwnOptions>
  /** Whether a transaction that only reads is a snapshot. */
  readonly isSnapshot: Context.Reference<boolean>
  /** Ends what statements have begun and nobody has ended; before the pools are closed. */
  readonly close: Effect.Effect<void>
}

let nextId = 1

export const make = Effect.fnUntraced(
  function*(options: Options): Effect.fn.Return<Client, never, Reactivity.Reactivity> {
    const spanAttributes: ReadonlyArray<readonly [string, unknown]> = [
      ...Object.entries(options.spanAttributes ?? {}),
      ["db.system.name", "sqlite"]
    ]
    const kinds = new Kinds()
    const timeout = new LockTimeout(options.busyTimeout)
    const byHand = options.imitatesOneConnection === true ? new ByHand(options.writer, timeout) : undefined
    const imitated = byHand === undefined ? identity : (place: Place) => withBusyTimeout(place, timeout)
    const outside = imitated(new Routed(options, timeout, byHand, kinds))
    const connection = toConnection(outside, kinds)
    const reserved = Effect.mapBoth(options.writer.acquire(), {
      onFailure: sqlErrorOf,
      onSuccess: (connection) => toConnection(new Reserved(connection), kinds)
    })
    const compiler = Statement.makeCompilerSqlite(options.transformQueryNames)
    const transformRows = options.transformResultNames &&
      Statement.defaultTransforms(options.transformResultNames).array
    const heard = new HeardReactivity.HeardReactivity(yield* Reactivity.Reactivity)
    const made = yield* SqlClient.make({
      driver: "effect-connection-pool",
      // Which pool it is to be shows only when there is a statement; that takes its connection itself.
      acquirer: Effect.succeed(connection),
      transactionAcquirer: reserved,
      compiler,
      transformRows,
      spanAttributes,
      reactiveQueue: (keys, effect) => heard.query(keys, outsideOfEnded(effect))
    })
    const { transactionService } = made
    heard.defer({ transactionService, afterCommit: made.afterCommit })
    const connectionOf = (fiber: Fiber.Fiber<unknown, unknown>): Connection =>
      Context.getOrUndefined(fiber.context, transactionService)?.[0] ?? connection
    const acquirer: Acquirer = Effect.withFiber((fiber) => Effect.succeed(connectionOf(fiber)))
    const borrower: Borrower = (f) => Effect.withFiber((fiber) => f(connectionOf(fiber)))
    const constructor = (compiler: Statement.Compiler, transform: Transform | undefined) =>
      Statements.make({
        // These find their connection in one step; those of the client that was made take six.
        original: Statement.make(acquirer, compiler, spanAttributes, transform, borrower),
        placeOf: (fiber) => {
          const held = Context.getOrUndefined(fiber.context, transactionService)
          return held === undefined ? outside : placeOf(held[0])
        },
        kinds,
        transform
      })
    const sql = withStatements(
      made,
      constructor(compiler, transformRows),
      transformRows && (() => constructor(compiler.withoutTransform, undefined))
    )
    const isSnapshot = Context.Reference<boolean>(`effect-connection-pool/sqlite/isSnapshot/${nextId++}`, {
      defaultValue: () => false
    })
    const transactor = Transactor.make({
      name: options.name,
      dialect: Dialect.make({ name: options.name, timeout, isSnapshot, isReadOnly: options.isReadOnly }),
      pool: options.writer,
      readers: options.reader,
      transactionService: sql.transactionService,
      toSql: (session) => toConnection(imitated(new InTransaction(session, kinds)), kinds),
      spanAttributes
    })
    // In place: the client refers to itself, and copies of it are made from it.
    Object.assign(sql, { safe: sql, withTransaction: transactor.withTransaction })
    const joined = (fiber: Fiber.Fiber<unknown, unknown>) => {
      const session = transactor.connectionOf(fiber)
      return session && new Joined(session, kinds)
    }
    const withoutTransaction = Context.omit(transactionService) as <R>(
      context: Context.Context<R>
    ) => Context.Context<R>
    /** A query that was begun in a transaction runs again when that has ended. */
    const outsideOfEnded = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.withFiber((fiber) => {
        const session = transactor.connectionOf(fiber)
        return session === undefined ? effect : Effect.matchEffect(session.assertOpen("reactive"), {
          onFailure: () => Effect.updateContext(effect, (context: Context.Context<R>) => withoutTransaction(context)),
          onSuccess: () => effect
        })
      })
    const close = Effect.andThen(byHand?.close ?? Effect.void, Effect.sync(() => heard.end()))
    return { sql, transactor, joined, isSnapshot, close }
  }
)

/** The same client with other statements; `plain` makes those that leave names as they are, if others do not. */
const withStatements = (
  client: SqlClient.SqlClient,
  statements: Statement.Constructor,
  plain: (() => Statement.Constructor) | undefined
): SqlClient.SqlClient => {
  // Of each client there is one, and a copy of the client has one of its own.
  const copies = new WeakMap<SqlClient.SqlClient, SqlClient.SqlClient>()
  return withOwn(statements, client, {
    withoutTransforms(this: SqlClient.SqlClient) {
      if (plain === undefined) return this
      const known = copies.get(this)
      if (known !== undefined) return known
      const copy: SqlClient.SqlClient = withOwn(plain(), this, { withoutTransforms: () => copy })
      copies.set(this, copy)
      return Object.assign(copy, { safe: copy })
    }
  })
}

/** Makes a client of statements, in place, with all that another client has besides. */
const withOwn = (
  statements: Statement.Constructor,
  client: SqlClient.SqlClient,
  own: Partial<SqlClient.SqlClient>
): SqlClient.SqlClient => Object.assign(statements, client, { unsafe: statements.unsafe }, own)

const bigIntsOf = (fiber: Fiber.Fiber<unknown, unknown>): boolean => fiber.getRef(SqlClient.SafeIntegers)

/** A statement at a time, each on a connection of its own. */
class Routed implements Place {
  readonly #options: Options
  readonly #timeout: LockTimeout
  readonly #byHand: ByHand | undefined
  readonly #kinds: Kinds

  constructor(options: Options, timeout: LockTimeout, byHand: ByHand | undefined, kinds: Kinds) {
    this.#options = options
    this.#timeout = timeout
    this.#byHand = byHand
    this.#kinds = kinds
  }

  run<A>(
    fiber: Fiber.Fiber<unknown, unknown>,
    query: Query,
    action: Action<A>
  ): Effect.Effect<A, SqlError> {
    const { params, text: { kind, sql } } = query
    const bigInts = bigIntsOf(fiber)
    const byHand = this.#byHand
    const once = (connection: SqliteConnection) => action(handleOf(connection, "execute"), sql, params, bigInts, true)
    if (byHand !== undefined && (kind === "control" || byHand.connection !== undefined)) return byHand.run(once)
    const { heldBy, lasting, reader, writer } = this.#options
    const held = heldBy === undefined ? undefined : heldFor(kind, heldBy(fiber))
    if (held !== undefined) return attempt(() => once(held))
    if (lasting?.isStale === true) return Effect.flatMap(this.#renew(lasting), () => this.run(fiber, query, action))
    switch (kind) {
      case "control":
        return Effect.fail(uncontrolled(sql))
      case "write":
      case "recall":
        return this.#runOn(writer, fiber, once, undefined)
      case "read": {
        const pool = lasting?.hasOwn === true ? writer : reader
        return this.#runOn(pool, fiber, once, pool === writer ? undefined : writer)
      }
    }
  }

  stream(sql: string, params: Params): Stream.Stream<unknown, SqlError> {
    const { heldBy } = this.#options
    if (heldBy === undefined) return this.#stream(sql, params)
    return Stream.unwrap(Effect.withFiber((fiber) => {
      const held = heldFor(this.#kinds.of(sql), heldBy(fiber))
      return Effect.succeed(
        held === undefined ? this.#stream(sql, params) : Stream.mapError(held.stream(sql, params), sqlErrorOf)
      )
    }))
  }

  #stream(sql: string, params: Params): Stream.Stream<unknown, SqlError> {
    return Stream.suspend(() => {
      const { lasting, reader, writer } = this.#options
      const kind = this.#kinds.of(sql)
      const begun = this.#byHand?.connection
      if (begun !== undefined && kind !== "control") return Stream.mapError(begun.stream(sql, params), sqlErrorOf)
      if (lasting?.isStale === true) {
        return Stream.unwrap(Effect.map(this.#renew(lasting), () => this.stream(sql, params)))
      }
      switch (kind) {
        case "control":
          return Stream.fail(uncontrolled(sql))
        case "write":
        case "recall":
          return this.#streamOn(writer, sql, params)
        case "read":
          if (lasting?.hasOwn === true) return this.#streamOn(writer, sql, params)
          return Stream.catchIf(
            this.#streamOn(reader, sql, params),
            (error) => isRefusedWrite(error) && reader !== writer,
            () => this.#streamOn(writer, sql, params)
          )
      }
    })
  }

  /** What `pool` refuses as a write goes to `writer`, if there is one. */
  #runOn<A>(
    pool: Pool,
    fiber: Fiber.Fiber<unknown, unknown>,
    once: (connection: SqliteConnection) => A,
    writer: Pool | undefined
  ): Effect.Effect<A, SqlError> {
    const attempt = within(pool.useSync({ try: once, catch: failure }), fiber)
    if (isSuccess(attempt)) return attempt
    const otherwise = (error: Failure) =>
      writer !== undefined && isRefusedWrite(error)
        ? this.#runOn(writer, fiber, once, undefined)
        : Effect.fail(sqlErrorOf(error))
    return Effect.catch(attempt, (error) => {
      if (!mayStartLater(codeOf(error))) return otherwise(error)
      // In one lease from now on, so that whoever comes later is not served before.
      const persisted = pool.use((connection) =>
        this.#persist(Effect.try({ try: () => once(connection), catch: failure }))
      )
      return Effect.catch(persisted, otherwise)
    })
  }

  /** Has those connections opened anew that were opened before statements last changed what is to be so on all. */
  #renew(lasting: Lasting): Effect.Effect<void> {
    return Effect.suspend(() => {
      lasting.isStale = false
      return Effect.asVoid(this.#options.reader.recycle)
    })
  }

  #streamOn(pool: Pool, sql: string, params: Params): Stream.Stream<unknown, SqlError> {
    return streamFrom(
      Effect.flatMap(
        pool.acquire(),
        (connection) => this.#persist(startReading(connection, sql, params, true))
      ),
      Effect.void
    )
  }

  #persist<A, E, R>(start: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return retryWhileLocked(start, this.#timeout.millis, { isWorthwhile: mayStartLater })
  }
}

/** All on the connection of a transaction. */
class InTransaction implements Place {
  readonly #session: Transaction.TransactionConnection<SqliteConnection>
  readonly #kinds: Kinds

  constructor(session: Transaction.TransactionConnection<SqliteConnection>, kinds: Kinds) {
    this.#session = session
    this.#kinds = kinds
  }

  run<A>(
    fiber: Fiber.Fiber<unknown, unknown>,
    { params, text: { kind, sql } }: Query,
    action: Action<A>
  ): Effect.Effect<A, SqlError> {
    if (kind === "control") return Effect.fail(uncontrolled(sql))
    const bigInts = bigIntsOf(fiber)
    const ran = within(
      this.#session.step(
        sql,
        (connection) => action(handleOf(connection, "execute"), sql, params, bigInts, false),
        failure
      ),
      fiber
    )
    return isSuccess(ran) ? ran : Effect.mapError(ran, sqlErrorOf)
  }

  stream(sql: string, params: Params): Stream.Stream<unknown, SqlError> {
    if (this.#kinds.of(sql) === "control") return Stream.fail(uncontrolled(sql))
    return streamFrom(
      this.#session.steps(sql, (connection) => startReading(connection, sql, params, false)),
      Effect.mapError(this.#session.assertOpen(sql), sqlErrorOf)
    )
  }
}

/** All on a connection that somebody has for as long as they like, and does with what they like. */
class Reserved implements Place {
  readonly #connection: SqliteConnection

  constructor(connection: SqliteConnection) {
    this.#connection = connection
  }

  run<A>(
    fiber: Fiber.Fiber<unknown, unknown>,
    { params, text }: Query,
    action: Action<A>
  ): Effect.Effect<A, SqlError> {
    return attempt(() => action(handleOf(this.#connection, "execute"), text.sql, params, bigIntsOf(fiber), false))
  }

  stream(sql: string, params: Params): Stream.Stream<unknown, SqlError> {
    return Stream.mapError(this.#connection.stream(sql, params), sqlErrorOf)
  }
}

const attempt = <A>(once: () => A): Effect.Effect<A, SqlError> =>
  Effect.try({ try: once, catch: (thrown) => sqlErrorOf(failure(thrown)) })

/** The connection on which a statement can be run, as on another beside it: what writes in a file would wait for itself. */
const heldFor = (kind: Kind, held: Held | undefined): SqliteConnection | undefined =>
  held !== undefined && kind !== "control" && (held.side === "read" || kind === "read") ? held.connection : undefined

/** A connection that only reads has refused it, and so it has changed nothing. */
const isRefusedWrite = (error: unknown): boolean => {
  const code = codeOf(error)
  return code !== undefined && primaryOf(code) === 8
}
