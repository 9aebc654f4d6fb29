/** The options of a PostgreSQL database. */
import type * as PgTypes from "@effect/sql-pg/PgTypes"
import type { Duration, Effect, Redacted } from "effect"
import type { ConnectionOptions } from "node:tls"
import type { PoolConfig } from "../../../PoolConfig.ts"

/**
 * The options of a database: where it is, and those of its pool. All have defaults; invalid ones are refused with a
 * `PoolConfigError` that lists every problem, before anything is opened. No message shows a secret.
 */
export interface Options extends PoolConfig {
  /** What the database is called in errors, events, logs and metrics. Default `"postgres"`. */
  readonly name?: string | undefined
  /**
   * Where the database is, as `postgres://user:password@host:5432/database?sslmode=require`. The other options come before
   * what it says. Several hosts are separated by commas, as in `db1,db2:5433`. Parameters: `host`, `port`, `user`, `password`, `dbname`, `application_name`, and `sslmode`, which is
   * `disable`, or `require`, `verify-ca` or `verify-full`, which all verify the certificate. Any other is refused, with what to use in
   * its place. `/`, `?`, `#` and `@` of a password are written as `%2F`, `%3F`, `%23` and `%40`.
   */
  readonly url?: string | Redacted.Redacted | undefined
  /** The host, or the folder of a socket if it begins with `/`. Default `"localhost"`. */
  readonly host?: string | undefined
  /** The port. Default 5432. */
  readonly port?: number | undefined
  /**
   * Several hosts of one database, as `"db1"` or `"db2:5433"`, in place of `host`: the primary and its replicas, in any order. Each
   * is asked for its role, when a connection opens and about twice a second. Connections go to the primary, and after a failover to
   * the one that was promoted. Name them all: an old primary is known by what the others say. Default: `host` alone, which is not
   * asked.
   */
  readonly hosts?: ReadonlyArray<string> | undefined
  /**
   * Reads on replicas: `{}` for the defaults. Needs the replicas in `hosts`. They are read by `replicaSql`, `read`, `snapshot` and
   * transactions that are `readOnly`, and by nothing else. Default: everything runs on the primary. `min` and `max` of the database
   * are those of the primary.
   */
  readonly replicas?: ReplicaOptions | undefined
  /** The database. Default: the name of the user. */
  readonly database?: string | undefined
  /** The role. Default: the user of this process. */
  readonly username?: string | undefined
  /**
   * The password, or an effect that is run for each connect attempt, for passwords that change. If it fails, the attempt has
   * failed, and the pool makes another one. Default: none.
   */
  readonly password?: string | Redacted.Redacted | Effect.Effect<Redacted.Redacted, unknown> | undefined
  /**
   * Whether the connection is encrypted, or how: the options of Node's `tls.connect`, which are checked and read once. A
   * socket in the file system is not encrypted. Default false.
   */
  readonly ssl?: boolean | ConnectionOptions | undefined
  /** What `pg_stat_activity` calls the connections. Default: `name`. */
  readonly applicationName?: string | undefined
  /**
   * Settings that each connection begins with, such as `{ search_path: "app" }`. A reset returns to them. A lease that changes a
   * setting changes it for itself only.
   */
  readonly startupParameters?: Readonly<Record<string, string>> | undefined
  /** How long a statement may run before the server cancels it (`statement_timeout`). Default `Infinity`. */
  readonly statementTimeout?: Duration.Input | undefined
  /** How long a statement waits for one lock (`lock_timeout`). Default `Infinity`. */
  readonly lockTimeout?: Duration.Input | undefined
  /**
   * How long a transaction may be open without a statement before the server ends it
   * (`idle_in_transaction_session_timeout`): it keeps locks, and old rows. Default 1 minute, or `Infinity`.
   */
  readonly idleInTransactionTimeout?: Duration.Input | undefined
  /**
   * How long the server may take to answer a statement that begins or ends a transaction or a savepoint. After that, the
   * connection is closed and the caller goes on. The outcome of a commit is unknown then. It holds for what the pool asks by itself,
   * too: for a position, or that a connection refuses writes. Default 5 seconds, or `Infinity`.
   */
  readonly controlTimeout?: Duration.Input | undefined
  /**
   * How long a cancelled statement may go on before its connection is closed. An interrupted caller waits as long, at most.
   * Default 1 second, at most 5 seconds.
   */
  readonly cancelTimeout?: Duration.Input | undefined
  /**
   * Reads of `sql` that share connections, or with `replicas` those of `replicaSql`: `true` for the defaults. Single statements that
   * only read, outside of transactions, are sent one behind the other on one or two connections that cannot write, without waiting
   * for an answer in between. For many small reads at the same time that is about twice as fast as a connection for each. See
   * docs/postgres.md for what it costs: the interrupt of such a read does not cancel it on the server. Default: false.
   */
  readonly sharedReads?: boolean | SharedReadOptions | undefined
  /**
   * What stands between this process and the server. `"transaction"`: a pooler such as PgBouncer in transaction mode, which gives
   * each transaction another session. Then statements are not prepared, and what needs a session is refused: `listen`, `lock`
   * outside a transaction, settings and the like on a connection. `"session"`: one in session mode, which keeps the session of each
   * client. Both refuse the options `startupParameters`, `statementTimeout`, `lockTimeout`, `idleInTransactionTimeout`,
   * `replicas` and `sharedReads`. Default `"none"`.
   */
  readonly pooler?: "none" | "session" | "transaction" | undefined
  /** Whether statements are prepared once for each connection. Default true. */
  readonly prepare?: boolean | undefined
  /** How many prepared statements each connection keeps. Default 100, floor 1. */
  readonly statementCacheSize?: number | undefined
  /** The largest message of the server, in bytes, such as one row. A larger one ends the connection. Default 16 MiB, floor 1 KiB. */
  readonly maxMessageSize?: number | undefined
  /** Types of the application: a registry of `PgTypes`. Default: the types that PostgreSQL has. */
  readonly types?: PgTypes.Registry | undefined
  /** For `sql`: changes the names of columns in rows. Default: unchanged. */
  readonly transformResultNames?: ((name: string) => string) | undefined
  /** For `sql`: changes identifiers in SQL. Default: unchanged. */
  readonly transformQueryNames?: ((name: string) => string) | undefined
  /** For `sql`: whether both also change the keys in JSON. Default true. */
  readonly transformJson?: boolean | undefined
  /** For `sql`: additional attributes of its spans. */
  readonly spanAttributes?: Readonly<Record<string, unknown>> | undefined
}

/** The options of reads that share connections. */
export interface SharedReadOptions {
  /** How many connections they share, beside those of `max`. The second is opened when the first is busy. Default 2, from 1 to 8. */
  readonly max?: number | undefined
  /**
   * How long the server lets a read run on a shared connection. One that takes longer is cancelled there, has changed nothing, and
   * runs again on a connection of its own. A read waits on a shared connection at most for about twice this time. Default 100
   * milliseconds; `statementTimeout` if that is shorter.
   */
  readonly statementTimeout?: Duration.Input | undefined
  /** How many reads may be on their way on each connection. More of them run on connections of their own. Default 128, floor 1. */
  readonly maxInFlight?: number | undefined
  /**
   * Functions that statements may call there besides those of PostgreSQL that compute, as statements write them: `"similarity"`,
   * `"app.full_name"`. They must change nothing in their session: no setting, no lock. Default: none.
   */
  readonly functions?: ReadonlyArray<string> | undefined
}

/** The options of reads on replicas. */
export interface ReplicaOptions {
  /** The connections for reads that are kept open, over all replicas. Default 0. */
  readonly min?: number | undefined
  /** The maximum number of connections for reads, over all replicas. Default 8, floor 1. */
  readonly max?: number | undefined
  /**
   * How far a replica may lag behind the primary. One that is later is not read until it has caught up. While the primary does not
   * answer, a replica counts as fresh that has all that the primary was seen to have. Default 5 seconds, or `Infinity`.
   */
  readonly maxLag?: Duration.Input | undefined
  /**
   * What is read if no replica is fresh. `"primary"`, the default: the primary, on at most `max` connections beside its own.
   * `"none"`: reads wait for a replica, until `acquireTimeout`.
   */
  readonly fallback?: "primary" | "none" | undefined
}
