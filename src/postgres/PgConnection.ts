/**
 * The connection to PostgreSQL that a `PgPool` lends: what it runs, and what its rows are.
 */
export type { Params, PgConnection, Row, RunResult } from "./internal/contract/connection.ts"
