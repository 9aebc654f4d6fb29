/** The options of a SQLite database. */
import type { Duration } from "effect"
import type * as Connection from "./connectionOptions.ts"
import type { Execution } from "./execution.ts"

/**
 * The options of a database. All but `filename` have defaults; invalid ones are refused with a `PoolConfigError`
 * that lists every problem, before anything is opened. With `readOnly` or `immutable`, the options about writes are
 * invalid: `synchronous`, `foreignKeys`, `journalSizeLimit`, `walAutocheckpoint`, `pageSize`, `autoVacuum`, `walLimit` and
 * `groupCommit`.
 */
export interface Options extends
  Pick<
    Connection.Options,
    | "filename"
    | "readOnly"
    | "immutable"
    | "synchronous"
    | "foreignKeys"
    | "journalSizeLimit"
    | "walAutocheckpoint"
    | "cacheSize"
    | "tempStore"
    | "pageSize"
    | "autoVacuum"
    | "trustedSchema"
    | "statementCacheSize"
    | "functions"
    | "aggregates"
    | "onOpen"
  >
{
  /** What the database is called in errors, events, logs and metrics. Default `"sqlite"`. */
  readonly name?: string | undefined
  /**
   * The maximum number of connections that read. They are opened when they are needed. More readers do not read faster,
   * because SQLite blocks the event loop while it reads. More readers let more fibers hold a snapshot or a stream at the
   * same time. Default 4, floor 1. No effect in memory, where there is one connection.
   */
  readonly readers?: number | undefined
  /**
   * Where statements run that only read: those of `sql`, and of `read`, `stream` and `snapshot` without `execution`;
   * transactions with `readOnly` too, and effects that are observed. `readSync`, transactions that write, and `observe` of one
   * statement stay in the thread of the application.
   *
   * - `"in-process"`, the default: a point read takes some microseconds, but a long query stops the event loop.
   * - `"worker"`: in threads of their own. A long query stops nobody, but a point read takes longer.
   * - `"auto"` protects from the second run of a slow text on. A text of `sql` that took more than a millisecond runs on
   *   workers. It comes back after 10 fast runs in a row, the second time after 100, and then after 1000, so that a pause of
   *   the machine moves no text for long. The first run is in process, and so is each text that is new each time. `read`,
   *   `stream` and `snapshot` stay in process. `movedToWorkers` lists the texts that are away.
   *
   * `onWorker` and `inProcess` choose for what runs in them. With `":memory:"` only `"in-process"` is possible.
   */
  readonly execution?: Execution | "auto" | undefined
  /**
   * The maximum number of workers: threads with a connection that reads. They are started when they are needed. A thread
   * takes about 15 MiB of memory, and on a busy machine 0.2 to 0.5 seconds to start. More workers than cores do not read
   * faster. Default 0, or 2 with `execution` `"worker"` or `"auto"`.
   */
  readonly workers?: number | undefined
  /**
   * How many workers may be replaced while they still run a statement whose caller has gone. A statement cannot be stopped
   * between two of its rows, so its thread runs on. Beyond this, callers wait. Default 1.
   */
  readonly maxAbandoned?: number | undefined
  /**
   * How long a statement may run on a worker, or on a writer in a thread. After that it is cancelled, and fails with a
   * `SqlError` whose reason is `StatementTimeoutError`. Its worker is `abandoned` until SQLite stops. The time in line does not count, nor that of a
   * stream. A statement in process cannot be stopped, so it has no effect there. Default `Infinity`.
   */
  readonly statementTimeout?: Duration.Input | undefined
  /**
   * A module whose exports `functions` and `aggregates` are what the options with these names are, for a database with
   * workers: each thread loads it. It should do nothing else when it is loaded. A URL, such as
   * `new URL("./functions.js", import.meta.url)`, or an absolute path. Default: none.
   */
  readonly functionsModule?: URL | string | undefined
  /**
   * How long a statement outside a transaction, or the opening of a connection, is retried while another process has a lock
   * on the file. Other fibers run meanwhile. Callers in line behind it wait for the lock one after the other, each for so
   * long. Default 5 seconds, floor 0: no retries.
   */
  readonly busyTimeout?: Duration.Input | undefined
  /** How long a caller waits for a connection, in line and while one is opened. Default 30 seconds. */
  readonly acquireTimeout?: Duration.Input | undefined
  /**
   * The maximum number of callers in each line. Further callers are refused at once. It also limits a group
   * (`groupCommit`), because all callers of a group but the first are in line. Default `Infinity`, floor 1.
   */
  readonly maxWaiting?: number | undefined
  /** How long a reader or a worker may be idle before it is closed. Default 10 minutes. */
  readonly idleTimeout?: Duration.Input | undefined
  /** A connection held for longer than this is reported as a possible leak. Default 1 minute. */
  readonly leakThreshold?: Duration.Input | undefined
  /**
   * A statement for which SQLite works this long, or longer, is slow: it is a `StatementSlow` event of its side, a warning in
   * the log, and part of `slowStatements`. Zero: every statement is. Only texts are kept, never parameters. Most statements
   * are one step, in which nothing else in this process can run. Default `Infinity`: statements are not measured.
   */
  readonly slowStatement?: Duration.Input | undefined
  /** How long a shutdown waits for leases before it interrupts their fibers. Default 10 seconds, floor 0. */
  readonly drainTimeout?: Duration.Input | undefined
  /** The deadline of closing one connection. Default 5 seconds. */
  readonly closeTimeout?: Duration.Input | undefined
  /**
   * How long a snapshot, another transaction that only reads, or a stream may pin one state of the database. After that it
   * is ended and fails, because the log grows while a state is pinned. Default 5 minutes, or `Infinity`; with `immutable`
   * `Infinity`. No effect in memory.
   */
  readonly maxReadAge?: Duration.Input | undefined
  /**
   * The size of the log, in bytes, that it should not exceed. From half of this size on, the log is cut back to zero bytes
   * as soon as no reader uses it. If that moment does not come by itself, new writes, snapshots and streams are held up for
   * it, for at most a quarter of a second. Default 64 MiB, floor 1 MiB, or `Infinity`. No effect in memory.
   */
  readonly walLimit?: number | undefined
  /**
   * Whether callers that write at the same time share one commit. This applies to single statements of `sql` and to
   * `writeSync`. Each caller is answered after the commit, as if it had been alone. A group has at most 500 callers, and at
   * most `maxWaiting` and one. Default true. No effect in memory.
   */
  readonly groupCommit?: boolean | undefined
  /**
   * How often SQLite is asked whether another process has committed, while somebody uses `observe` or `commits`. It takes
   * some microseconds. Default 100 milliseconds, or `Infinity`: only after each lease of the connection that writes. No effect
   * in memory.
   */
  readonly observeInterval?: Duration.Input | undefined
  /**
   * Whether Effect's `Reactivity` is told of each commit: the name of each changed table is a key. Then
   * `sql.reactive(["visit"], ...)` and atoms with this key hear of every commit in the table `visit`, also of those of other
   * processes, and nobody has to tell them. A function gives a table another key. Default false.
   */
  readonly tellReactivity?: boolean | ((table: string) => unknown) | undefined
  /** For `sql`: changes the names of columns in rows. Default: unchanged. */
  readonly transformResultNames?: ((name: string) => string) | undefined
  /** For `sql`: changes identifiers in SQL. Default: unchanged. */
  readonly transformQueryNames?: ((name: string) => string) | undefined
  /** For `sql`: additional attributes of its spans. */
  readonly spanAttributes?: Readonly<Record<string, unknown>> | undefined
}

/** The options of a database in a temporary file, whose name the pool chooses. */
export type TemporaryOptions = Omit<Options, "filename" | "readOnly" | "immutable">
