/** A pool whose reads share connections, with functions that say where they run, take long, write, or leave something. */
import { Effect, Fiber } from "effect"
import type { PgPool } from "effect-connection-pool/postgres"
import { make as makePool, until } from "./postgres.ts"

const setup = [
  "create table item (id int primary key, name text)",
  "insert into item select n, 'name ' || n from generate_series(1, 1000) n",
  "create table stored (n int)",
  `create function nap(n int, seconds float8) returns int language plpgsql stable as
    'begin perform pg_sleep(seconds); return n; end'`,
  "create table gate (n int)",
  // Ends when there is such a gate.
  `create function gated(n int) returns int language plpgsql as
    'begin while not exists (select from gate where gate.n = gated.n) loop perform pg_sleep(0.005); end loop; return n; end'`,
  "insert into gate values (0)",
  // Slow on a shared connection only.
  `create function nap_there(n int, seconds float8) returns int language plpgsql stable as
    'begin if current_setting(''transaction_read_only'') = ''on'' then perform pg_sleep(seconds); end if; return n; end'`,
  "create function store(n int) returns int language plpgsql as 'begin insert into stored values (n); return n; end'"
]

type Options = Partial<PgPool.Options> & { readonly shared?: PgPool.SharedReadOptions | undefined }

export const make = Effect.fnUntraced(function*({ shared, ...options }: Options = {}) {
  const made = yield* makePool({
    max: 4,
    ...options,
    sharedReads: { max: 1, functions: ["pg_backend_pid", "nap", "nap_there", "gated", "store"], ...shared },
    setup
  })
  const open = (n: number) => Effect.asVoid(made.judge("insert into gate values ($1)", [n]))
  return { ...made, open, ...on(made.db) }
})

export type Made = Effect.Success<ReturnType<typeof make>>

/** What the tests run on a pool. */
export const on = (db: PgPool.PgPool) => {
  const sql = db.replicaSql
  const pid = Effect.map(sql<{ pid: number }>`select pg_backend_pid() as pid`, ([row]) => row!.pid)
  const numbers = Effect.map(db.stats, ({ sharedReads }) => sharedReads!)
  /** Runs a read until it was sent on a shared connection, and returns what it gave there. */
  const shared = Effect.fnUntraced(function*<A, E>(read: Effect.Effect<A, E>) {
    for (let run = 0; run < 1000; run++) {
      const { sent } = yield* numbers
      const value = yield* read
      if ((yield* numbers).sent > sent) return value
      yield* Effect.sleep(2)
    }
    return yield* Effect.die(new Error("it never ran on a shared connection"))
  })
  const item = (id: number) =>
    Effect.map(sql<{ name: string }>`select name from item where id = ${id}`, ([row]) => row!.name)
  return {
    sql,
    pid,
    numbers,
    shared,
    item,
    /** Reads until a shared connection may have as many reads on their way as its option says. */
    warm: Effect.andThen(shared(item(1)), Effect.repeat(item(1), { times: 80 })),
    /** Answers `n`, after some time. */
    nap: (n: number, millis: number) =>
      Effect.map(sql<{ n: number }>`select nap(${n}, ${millis / 1000}::float8) as n`, ([row]) => row!.n),
    /** Answers `n` when the judge has opened its gate: that of 0 is open. */
    gated: (n: number) => Effect.map(sql<{ n: number }>`select gated(${n}) as n`, ([row]) => row!.n),
    /** Answers `n`, after some time on a shared connection, and at once on another. */
    napThere: (n: number, millis: number) =>
      Effect.map(sql<{ n: number }>`select nap_there(${n}, ${millis / 1000}::float8) as n`, ([row]) => row!.n),
    /** Waits until the shared connections shut down. */
    isShutDown: until(
      "they shut down",
      Effect.map(
        Effect.flip(Effect.asVoid(db.sharedReads!.use(() => Effect.void, { timeout: 0 }))),
        ({ _tag }) => _tag === "PoolClosedError"
      )
    ),
    /**
     * Forks reads, of which so many are on their way at the same time. A shared connection that was given back meanwhile, or is not
     * free, takes fewer: then they are interrupted, and begin again after `before`.
     */
    onTheirWay: Effect.fnUntraced(function*<A, E, E2>(
      count: number,
      before: Effect.Effect<unknown, E2>,
      reads: Effect.Effect<A, E>
    ) {
      for (;;) {
        yield* before
        const fiber = yield* Effect.forkChild(reads, { startImmediately: true })
        for (let turn = 0; turn < 10; turn++) {
          if ((yield* numbers).inFlight === count) return fiber
          yield* Effect.yieldNow
        }
        yield* Fiber.interrupt(fiber)
      }
    }),
    inFlight: (count: number) =>
      until(`${count} are on their way`, Effect.map(numbers, ({ inFlight }) => inFlight === count))
  }
}
