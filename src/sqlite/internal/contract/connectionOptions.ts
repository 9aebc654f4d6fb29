/** The options of a connection to SQLite. */
import type { Duration, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { AsyncConnection } from "./connection.ts"
import type { Aggregates, Functions } from "./functions.ts"

/** How to open a database. If an option is unknown or invalid, opening fails with a `SqlError`. */
export interface Options {
  /**
   * The path of the file, or `":memory:"`. It is not a URI. A missing file is created, a missing folder is not.
   *
   * Each connection to `":memory:"` has a database of its own, which is gone when the connection is closed. A pool over
   * `factory` has only one such connection, whatever `max` is. It keeps that connection if `min` is 1, and `maxLifetime` and
   * `maxUses` are infinite. `SqlitePool` does all this by itself.
   */
  readonly filename: string
  /**
   * Whether the file is only read. Then the file must exist, and a write is refused. Others may write to it meanwhile.
   * `SqliteConnection` ignores the options about writing; `SqlitePool` refuses them. In WAL mode, even a reader must be able
   * to write to the folder of the file, and it leaves an empty log (`-wal`) and a `-shm` there. If nothing changes the file,
   * choose `immutable`. Default false.
   */
  readonly readOnly?: boolean | undefined
  /**
   * Whether nothing changes the file while it is open, as on a read-only disk or in the image of a container. Then it is only
   * read, without locks, and no file is made beside it, so the folder may be read-only.
   *
   * If the file is changed all the same, results may be wrong and reads may fail: SQLite does not look. Opening fails while
   * the file has a log (`-wal`) or a journal beside it with changes that are not in the file, because SQLite would ignore
   * them, and if the file is empty. Default false.
   */
  readonly immutable?: boolean | undefined
  /**
   * The journal that makes transactions safe. Opening fails if the file system does not support it. Default `"wal"`, in
   * which readers and a writer do not wait for each other. `":memory:"` has only `"memory"`.
   */
  readonly journalMode?: "wal" | "delete" | "truncate" | "persist" | "memory" | undefined
  /**
   * When to wait for the disk. Default `"normal"`: in WAL mode, a power failure may lose the last transactions, but never
   * corrupts the file. `"full"` loses none, but commits are many times slower.
   */
  readonly synchronous?: "off" | "normal" | "full" | "extra" | undefined
  /** Whether foreign keys are enforced. Default true. */
  readonly foreignKeys?: boolean | undefined
  /** The size in bytes to which the log is cut back when it starts over. `Infinity`: never. Default 64 MiB. */
  readonly journalSizeLimit?: number | undefined
  /** The number of pages in the log from which a commit moves them to the file. 0: never. Default 1000. */
  readonly walAutocheckpoint?: number | undefined
  /** The memory for pages of the file, in KiB. Default 8000. */
  readonly cacheSize?: number | undefined
  /** Where temporary tables are. Default `"memory"`. */
  readonly tempStore?: "memory" | "file" | undefined
  /** The size of a page in bytes, a power of two from 512 to 65536. It works only on a new file. Default: unchanged. */
  readonly pageSize?: number | undefined
  /** Whether the file shrinks after rows are deleted. A file with `"none"` cannot be changed later. Default: unchanged. */
  readonly autoVacuum?: "none" | "full" | "incremental" | undefined
  /**
   * Whether views, triggers and defaults in the schema may call functions that could do harm. Default false, which is safe
   * for files of unknown origin.
   */
  readonly trustedSchema?: boolean | undefined
  /**
   * How long opening is retried, about every millisecond, while another process has a lock on the file. Zero: no retries.
   * Statements of a single connection do not wait for locks, but statements of a `SqlitePool` do. Default 5 seconds.
   */
  readonly busyTimeout?: Duration.Input | undefined
  /**
   * The number of prepared statements to keep. Recently used ones are preferred. 0: none. Default 200. Together they may
   * hold about 16 MiB of memory, estimated from their texts, lists, columns and parameters. A single larger statement is
   * compiled each time it runs.
   */
  readonly statementCacheSize?: number | undefined
  /**
   * SQL functions of the application, by their names in SQL: see `SqliteFunction`. Every connection has them, before
   * `onOpen` runs. They may replace functions of SQLite, except a few that this library needs. A database with workers needs
   * `functionsModule` instead. Default: none.
   */
  readonly functions?: Functions | undefined
  /** SQL aggregates of the application, by their names in SQL: see `SqliteFunction.aggregate`. Default: none. */
  readonly aggregates?: Aggregates | undefined
  /**
   * Runs with each connection after its pragmas, before it is lent for the first time, and again after each reopening. Use
   * it to attach a database, load an extension, set a pragma that has no option, or make a temporary table.
   *
   * Every lease begins with the state that it sets: a change by a lease is undone when the lease ends. In memory it runs
   * only once, so a lease may not drop or alter a temporary table that it made, nor detach a database.
   * If it fails, or leaves a transaction open, the connect attempt fails. It waits for the locks of others for
   * `busyTimeout`, and must end within the pool's `connectTimeout`. Default: nothing.
   *
   * A transaction that writes to the database and to an attached one is atomic in each file, but not over both. In WAL
   * mode, a crash at the wrong moment can leave the transaction in only one of them. Each connection opens each attached
   * file, which costs two or three descriptors.
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
    | ((connection: AsyncConnection, opening: Opening) => Effect.Effect<unknown, unknown>)
    | undefined
}

/** The second argument of `onOpen`. */
export interface Opening {
  /** Whether the connection only reads, like those of `SqlitePool.read`. */
  readonly isReader: boolean
  /** Loads an extension of SQLite from a file, on this connection. SQL itself cannot load one. */
  readonly loadExtension: (path: string) => Effect.Effect<void, SqlError>
}
