/**
 * A bank whose connections are killed all the time, whose server crashes, and whose replica is promoted, judged by the tables.
 *
 * For a long run: `BANK_KILLS=100 npx vitest run test/postgres/bank`.
 */
import { assert } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { describeServer, until } from "../support/postgres.ts"
import { hostOf, servers } from "../support/replicas.ts"

/** How often all connections are killed, with 100 ms between. */
const kills = Number(process.env["BANK_KILLS"] ?? 20)

const accounts = 10
const tellers = 50

describeServer("a bank on PostgreSQL", (it) => {
  it.effect(
    "stores each transfer that it was told is stored, and none of which it was told that it is not, through kills, a crash and a promotion",
    () =>
      Effect.gen(function*() {
        const { primary, replica } = yield* servers
        yield* primary.query("create table account (id int primary key, euros int not null)")
        yield* primary.query(`insert into account select n, 100 from generate_series(0, ${accounts - 1}) n`)
        yield* primary.query("create table ledger (transfer int primary key, source int, target int, euros int)")
        // A commit is acknowledged once the replica has it, too: otherwise a promotion may lose it.
        yield* primary.query("alter system set synchronous_standby_names = '*'")
        yield* primary.query("select pg_reload_conf()")
        yield* until(
          "the replica is asked for each commit",
          Effect.map(primary.query("select sync_state from pg_stat_replication"), ([row]) =>
            row?.["sync_state"] === "sync")
        )
        const db = yield* PgPool.make({
          hosts: [hostOf(replica), hostOf(primary)],
          username: "postgres",
          database: "postgres",
          max: 8,
          drainTimeout: 0
        })
        const { sql } = db
        let isOver = false
        let next = 0
        const told = { stored: new Set<number>(), unknown: new Set<number>(), failed: new Set<number>() }
        const transfer = Effect.suspend(() => {
          const id = next++
          const [source, target, euros] = [id % accounts, (id * 7 + 3) % accounts, 1 + id % 5]
          const body = Effect.gen(function*() {
            yield* sql`update account set euros = euros - ${euros} where id = ${source}`
            yield* sql`update account set euros = euros + ${euros} where id = ${target}`
            yield* sql`insert into ledger values (${id}, ${source}, ${target}, ${euros})`
          })
          return Effect.matchEffect(
            db.transaction(body, { isolation: "serializable", retry: Schedule.recurs(20) }),
            {
              onFailure: ({ _tag }) =>
                Effect.sync(() =>
                  void (_tag === "TransactionOutcomeUnknownError" ? told.unknown : told.failed).add(id)
                ),
              onSuccess: () => Effect.sync(() => void told.stored.add(id))
            }
          )
        })
        const working = yield* Effect.forkChild(Effect.forEach(
          Array.from({ length: tellers }),
          () => Effect.repeat(transfer, { until: () => isOver }),
          { concurrency: "unbounded", discard: true }
        ))
        /** However slow the machine is: no kill comes before something was stored since the last one. */
        const goesOn = Effect.suspend(() => {
          const before = told.stored.size
          return until("a transfer is stored", Effect.sync(() => told.stored.size > before))
        })
        let server: typeof primary = primary
        let killed = 0
        for (let round = 1; round <= kills; round++) {
          yield* Effect.sleep(100)
          yield* goesOn
          killed += yield* server.kill("postgres")
          if (round === Math.ceil(kills / 3)) {
            yield* primary.stop("immediate")
            yield* primary.start
          }
          if (round === Math.ceil(kills * 2 / 3)) {
            yield* primary.stop("immediate")
            yield* replica.promote
            server = replica
          }
        }
        yield* goesOn
        isOver = true
        yield* Fiber.join(working)

        const ledger = new Set(
          (yield* replica.query("select transfer from ledger")).map(({ transfer }) => Number(transfer))
        )
        const [sums] = yield* replica.query(`
          select sum(euros)::int4 as all, count(*) filter (where euros <> 100
            - coalesce((select sum(euros) from ledger where source = id), 0)
            + coalesce((select sum(euros) from ledger where target = id), 0))::int4 as wrong from account`)
        const { failed, stored, unknown } = told
        yield* Effect.log(
          `${kills} times all connections killed (${killed}): ${stored.size} transfers stored, ${failed.size} failed, ` +
            `${unknown.size} unknown, of which ${Array.from(unknown).filter((id) => ledger.has(id)).length} are stored`
        )
        assert.deepStrictEqual(Array.from(stored).filter((id) => !ledger.has(id)), [], "told stored, and is not")
        assert.deepStrictEqual(Array.from(failed).filter((id) => ledger.has(id)), [], "told not stored, and is")
        assert.deepStrictEqual(sums, { all: accounts * 100, wrong: 0 })
        assert.isAtLeast(killed, kills)
        // The hosts are still asked for their role now and then.
        yield* until(
          "nothing is left open on the server",
          Effect.map(replica.backends("postgres"), (all) => all.every(({ state }) => state === "idle"))
        )
        assert.strictEqual((yield* db.stats).primary.inUse, 0)
      }),
    { timeout: 120_000 + kills * 2000 }
  )
})
