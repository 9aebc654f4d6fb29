export * as PgConnection from "./PgConnection.ts"
export * as PgPool from "./PgPool.ts"
export * as PgPoolError from "./PgPoolError.ts"
