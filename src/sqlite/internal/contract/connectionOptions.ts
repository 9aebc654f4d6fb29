/** The options of a connection to SQLite. */
import type { Duration, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { SqliteConnection } from "./connection.ts"

/** How to open a database. An option that is unknown or cannot be is a `SqlError` when it is opened. */
export interface Options {
  /**
   * The file, which is created if need be (its folder is not); or `":memory:"`. No URI.
   *
   * Each connection to `":memory:"` has a database of its own, which is gone when it is closed. A pool over `factory` has
   * only one of them, whatever `max` is, and keeps it if `min` is 1, and `maxLifetime` and `maxUses` infinite; `SqlitePool`
   * sees to all that.
   */
  readonly filename: string
  /**
   * Whether the file is only read. It has to exist then, and what is said below of writing is of no effect. In WAL mode
   * even a reader needs a folder that it can write to. Default false.
   */
  readonly readOnly?: boolean | undefined
  /**
   * How transactions are made safe. Opening fails if the file system does not do what is asked here. Default `"wal"`, in
   * which readers and a writer do not hinder each other; `":memory:"` only has `"memory"`.
   */
  readonly journalMode?: "wal" | "delete" | "truncate" | "persist" | "memory" | undefined
  /**
   * When to wait for the disk. Default `"normal"`: in WAL mode a loss of power may cost the last transactions, but never
   * harms the file; `"full"` loses none, and commits many times slower.
   */
  readonly synchronous?: "off" | "normal" | "full" | "extra" | undefined
  /** Whether foreign keys are enforced. Default true. */
  readonly foreignKeys?: boolean | undefined
  /** Bytes to which the log is cut back when it is used from the start again; `Infinity` for never. Default 64 MiB. */
  readonly journalSizeLimit?: number | undefined
  /** Pages in the log after which a commit moves them to the file; 0 for never. Default 1000. */
  readonly walAutocheckpoint?: number | undefined
  /** Memory for pages of the file, in KiB. Default 8000. */
  readonly cacheSize?: number | undefined
  /** Where temporary tables are. Default `"memory"`. */
  readonly tempStore?: "memory" | "file" | undefined
  /** Bytes of a page, a power of two from 512 to 65536. Of effect only on a new file. Default: as it is. */
  readonly pageSize?: number | undefined
  /** Whether the file shrinks when something is deleted. `"none"` can be left only on a new file. Default: as it is. */
  readonly autoVacuum?: "none" | "full" | "incremental" | undefined
  /**
   * Whether what is in the schema (views, triggers, defaults) may call functions that could do harm. Default false, which
   * suits files that come from elsewhere.
   */
  readonly trustedSchema?: boolean | undefined
  /**
   * How long opening goes on trying, every millisecond or so, while another process has a lock on the file. Zero: once.
   * Statements do not wait for locks; those of a `SqlitePool` do. Default 5 seconds.
   */
  readonly busyTimeout?: Duration.Input | undefined
  /**
   * Prepared statements to keep, rather those in use. 0 for none. Default 200. Together they may hold about 16 MiB of memory,
   * estimated from their texts, lists, columns and parameters: a larger one is compiled each time.
   */
  readonly statementCacheSize?: number | undefined
  /**
   * Runs with each connection before it is lent for the first time, after its pragmas, and again whenever it was opened
   * anew: to attach a database, to load an extension, to set a pragma that has no option, to make a temporary table.
   *
   * What it sets is how the connection is whenever it is lent: what a lease changes of it is undone when the lease ends. In
   * memory it runs once, so a lease may not drop or alter a temporary table that it made, nor detach a database.
   * Fails as opening does: what it fails with is the error of the connect attempt, and so is a transaction that it leaves
   * open. Waits for the locks of others for `busyTimeout`, and has to end within the pool's `connectTimeout`. Default:
   * nothing.
   *
   * A transaction that writes to the database and to an attached one is atomic in each of them, but not over both: in WAL
   * mode a crash at the wrong moment leaves one with it and the other without. Each file attached is opened once more on
   * each connection, which costs two or three descriptors.
   *
   * ```ts
   * import { SqlitePool } from "effect-connection-pool/sqlite"
   *
   * export const Database = SqlitePool.layer({
   *   filename: "app.db",
   *   onOpen: (connection) => connection.exec("attach 'archive.db' as archive; pragma recursive_triggers = on")
   * })
   * ```
   */
  readonly onOpen?:
    | ((connection: SqliteConnection, opening: Opening) => Effect.Effect<unknown, unknown>)
    | undefined
}

/** What `onOpen` gets besides the connection. */
export interface Opening {
  /** Whether the connection only reads, as those for `SqlitePool.read`. */
  readonly isReader: boolean
  /** Loads an extension of SQLite from a file, on this connection. SQL itself may not load any. */
  readonly loadExtension: (path: string) => Effect.Effect<void, SqlError>
}
