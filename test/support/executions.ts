/** The ways in which a database reads: in process, or on workers. Tests about reads run over both. */
import type { SqlitePool } from "effect-connection-pool/sqlite"

/** The options of a database that reads in one of the ways. */
export const executions: ReadonlyArray<readonly [name: SqlitePool.Execution, options: Partial<SqlitePool.Options>]> = [
  ["in-process", { execution: "in-process" }],
  ["worker", { execution: "worker", workers: 2 }]
]

/** A query that takes as many steps as that. About ten million take a second. */
export const counting = (to: number): string =>
  `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${to}) select count(*) as n from n`
