/** What only transactions of SQLite may ask for. */

/**
 * When a transaction takes the right to write: `"immediate"`, the default, as it begins; `"deferred"` with its first write,
 * which fails if another has written since its first read; `"exclusive"` as `"immediate"`, in WAL mode.
 */
export type Isolation = "immediate" | "deferred" | "exclusive"
