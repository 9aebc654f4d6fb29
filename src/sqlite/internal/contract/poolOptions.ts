/** The options of a SQLite database. */
import type { Duration } from "effect"
import type * as Connection from "./connectionOptions.ts"

/**
 * The options of a database. All but `filename` have defaults; invalid ones are refused with a `PoolConfigError`
 * that lists every problem, before anything is opened.
 */
export interface Options extends
  Pick<
    Connection.Options,
    | "filename"
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
    | "onOpen"
  >
{
  /** What the database is called in errors, events, logs and metrics. Default `"sqlite"`. */
  readonly name?: string | undefined
  /**
   * Connections that read, at most. They are opened as they are needed. As SQLite reads while the caller waits, more do
   * not read faster; they let more hold a snapshot or a stream at the same time. Default 4, floor 1. Of no effect in
   * memory, where there is one connection.
   */
  readonly readers?: number | undefined
  /**
   * How long a statement outside a transaction, and opening a connection, goes on trying while another process has a lock
   * on the file. Other fibers run meanwhile. Default 5 seconds, floor 0: tried once.
   */
  readonly busyTimeout?: Duration.Input | undefined
  /** The deadline for a connection: the line and opening one together. Default 30 seconds. */
  readonly acquireTimeout?: Duration.Input | undefined
  /** Callers in line at most, for the writer and for the readers; one more is refused at once. Default `Infinity`, floor 1. */
  readonly maxWaiting?: number | undefined
  /** How long a reader may be idle before it is closed. Default 10 minutes. */
  readonly idleTimeout?: Duration.Input | undefined
  /** A connection held for longer than this is reported as a possible leak. Default 1 minute. */
  readonly leakThreshold?: Duration.Input | undefined
  /** How long a shutdown waits for leases before it interrupts their fibers. Default 10 seconds, floor 0. */
  readonly drainTimeout?: Duration.Input | undefined
  /** The deadline of closing one connection. Default 5 seconds. */
  readonly closeTimeout?: Duration.Input | undefined
  /**
   * How long a reader may pin one state of the database: in a snapshot, in another transaction that only reads, or
   * with a stream. After that it is ended, and fails, because the log grows as long as it goes on. Default 5 minutes, or
   * `Infinity`. Of no effect in memory.
   */
  readonly maxReadAge?: Duration.Input | undefined
  /**
   * The size of the log, in bytes, that it should not pass. From half of that on it is cut back to nothing as soon as
   * nobody reads in it; if that moment does not come by itself, those who want to write, or to begin a snapshot or a
   * stream, are held up for it, for a quarter of a second at most. Default 64 MiB, floor 1 MiB, or `Infinity`. Of no
   * effect in memory.
   */
  readonly walLimit?: number | undefined
  /**
   * Whether those who write at the same time share one commit: single statements of `sql`, and functions given to
   * `writeSync`. Each is answered after the commit, as if it had been alone. Default true. Of no effect in memory.
   */
  readonly groupCommit?: boolean | undefined
  /** For `sql`: names of columns as they are to appear in rows. Default: as they are. */
  readonly transformResultNames?: ((name: string) => string) | undefined
  /** For `sql`: identifiers as they are to appear in SQL. Default: as they are. */
  readonly transformQueryNames?: ((name: string) => string) | undefined
  /** For `sql`: more attributes of its spans. */
  readonly spanAttributes?: Readonly<Record<string, unknown>> | undefined
}

/** The options of a database in a temporary file, whose name the pool chooses. */
export type TemporaryOptions = Omit<Options, "filename">
