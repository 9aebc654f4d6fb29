/** Observations of a database, and its commits. */
import type { ReadOptions } from "./execution.ts"

/** The options of one observation. Where it runs is decided when it begins. */
export interface ObserveOptions<A> extends ReadOptions {
  /**
   * Whether a result is left out that equals the one before it. `true` compares the values in them with `Equal.equals`, and a
   * function compares two results. Default false: each commit that touched what the query reads gives a result, also if the
   * query does not see a difference.
   */
  readonly distinct?: boolean | ((a: A, b: A) => boolean) | undefined
}

/** A commit, or several of them: see `commits`. */
export interface Commit {
  /**
   * The tables that may have changed: those that the statements of the commit write, with those that triggers and foreign keys
   * change. A table of an attached database has its name before it: `archive.visit`. Not set if they are not known: another
   * connection has committed, or the file was replaced.
   */
  readonly tables?: ReadonlyArray<string>
  /** Whether the schema has changed. Also true if that is not known. */
  readonly isSchemaChanged: boolean
  /**
   * Who has committed: a connection of this pool, or another connection, which is one of another process, of another pool, or
   * of another library.
   */
  readonly by: "pool" | "other"
  /** When this pool has seen it, in milliseconds since 1970. If `by` is `"other"`, it may have been earlier. */
  readonly at: number
  /** The number of commits that it stands for: more than 1 if its reader was slow. */
  readonly count: number
}
