export * as FaultyFactory from "./FaultyFactory.ts"
export * as PoolAssert from "./PoolAssert.ts"
export * as Sweep from "./Sweep.ts"
export * as TemporaryPostgres from "./TemporaryPostgres.ts"
