/** Migrations, under the name that `@effect/sql-sqlite-node` has for them: Effect's own `Migrator`, and nothing else. */
import { type Effect, Layer } from "effect"
import * as Migrator from "effect/sql/Migrator"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

export * from "effect/sql/Migrator"

/**
 * Runs what has not been run of the migrations, in one transaction, and gives those that it ran.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqliteMigrator } from "effect-connection-pool/sqlite-node"
 * import { SqlClient } from "effect/sql/SqlClient"
 *
 * const createPeople = Effect.gen(function*() {
 *   const sql = yield* SqlClient
 *   yield* sql`create table people(id integer primary key, name text not null)`
 * })
 *
 * export const migrate = SqliteMigrator.run({
 *   loader: SqliteMigrator.fromRecord({ "0001_people": createPeople })
 * })
 * ```
 */
export const run: <R = never>(
  options: Migrator.MigratorOptions<R>
) => Effect.Effect<
  ReadonlyArray<readonly [id: number, name: string]>,
  Migrator.MigrationError | SqlError,
  SqlClient | R
> = Migrator.make({})

/** `run` as a layer, for those that need the tables to be there. */
export const layer = <R = never>(
  options: Migrator.MigratorOptions<R>
): Layer.Layer<never, Migrator.MigrationError | SqlError, SqlClient | R> => Layer.effectDiscard(run(options))
