/** Effect's cluster and its workflows, with their storage on the client of a PostgreSQL pool: what several processes share. */
import { assert } from "@effect/vitest"
import { Effect, Exit, Layer, References, Schema, Scope } from "effect"
import type { PgPool } from "effect-connection-pool/postgres"
import * as ClusterSchema from "effect/cluster/ClusterSchema"
import * as ClusterWorkflowEngine from "effect/cluster/ClusterWorkflowEngine"
import * as Entity from "effect/cluster/Entity"
import * as Runner from "effect/cluster/Runner"
import * as RunnerAddress from "effect/cluster/RunnerAddress"
import { RunnerStorage } from "effect/cluster/RunnerStorage"
import * as ShardId from "effect/cluster/ShardId"
import * as ShardingConfig from "effect/cluster/ShardingConfig"
import * as SingleRunner from "effect/cluster/SingleRunner"
import * as SqlRunnerStorage from "effect/cluster/SqlRunnerStorage"
import * as Digest from "effect/crypto/Digest"
import * as Rpc from "effect/rpc/Rpc"
import { SqlClient } from "effect/sql/SqlClient"
import * as Activity from "effect/workflow/Activity"
import * as DurableClock from "effect/workflow/DurableClock"
import * as DurableDeferred from "effect/workflow/DurableDeferred"
import * as Workflow from "effect/workflow/Workflow"
import { until } from "../postgres.ts"

/**
 * So short that a test sees all of it. A runner gives its shards up if its locks are not refreshed within the interval, and what it
 * was doing is done again.
 */
const quick = {
  shardsPerGroup: 4,
  shardLockRefreshInterval: "3 seconds",
  shardLockExpiration: "20 seconds",
  entityMessagePollInterval: "50 millis",
  entityReplyPollInterval: "20 millis",
  refreshAssignmentsInterval: "50 millis",
  sendRetryInterval: "20 millis"
} as const

/** The database of a cluster. */
export interface Host {
  /** A pool of its own, as each process has it. */
  readonly pool: (max: number) => ReturnType<typeof PgPool.layer>
  /** The single value of a query, for others. */
  readonly value: (sql: string) => Effect.Effect<unknown, unknown>
  /** Kills all sessions on the primary. */
  readonly kill: Effect.Effect<unknown, unknown>
}

export interface Program {
  /** What it does, as the name of a test. */
  readonly name: string
  /** The tables that it needs. */
  readonly setup: ReadonlyArray<string>
  readonly run: (host: Host) => Effect.Effect<void, unknown>
}

/** A runner of its own on a database, as one process has it: its pool, and all that is stored there. */
const runner = ({ pool }: Host) =>
  SingleRunner.layer({ shardingConfig: quick }).pipe(
    Layer.provideMerge(pool(6)),
    Layer.provide(Digest.layerWebCrypto)
  )

/** Makes the tables of all runners, as a process that runs already has done. */
export const createCluster = (host: Host) => Effect.provide(Effect.void, runner(host))

const Pay = Rpc.make("Pay", {
  payload: { id: Schema.String, amount: Schema.Int },
  success: Schema.Int,
  error: Schema.String,
  primaryKey: ({ id }) => id
}).annotate(ClusterSchema.Persisted, true).annotate(ClusterSchema.WithTransaction, true)

const Account = Entity.make("Account", [Pay])

/** Stores a payment, and then refuses it if it is above 100: in one transaction with its answer. */
const AccountLayer = Account.toLayer(Effect.gen(function*() {
  const sql = yield* SqlClient
  const address = yield* Entity.CurrentAddress
  return Account.of({
    Pay: ({ payload: { amount } }) =>
      Effect.gen(function*() {
        yield* Effect.orDie(sql`insert into payment values (${address.entityId}, ${amount})`)
        if (amount > 100) return yield* Effect.fail("too much")
        const [row] = yield* Effect.orDie(
          sql<{ sum: number }>`select sum(amount)::int4 as sum from payment where account = ${address.entityId}`
        )
        return row!.sum
      })
  })
}))

const advisoryLocks = "select count(*)::int4 from pg_locks where locktype = 'advisory'"

const Approved = DurableDeferred.make("Approved", { success: Schema.String })

const Order = Workflow.make("Order", {
  payload: { id: Schema.String },
  success: Schema.String,
  idempotencyKey: ({ id }) => id
})

const OrderLayer = Order.toLayer(Effect.fnUntraced(function*({ id }) {
  const step = (name: string) =>
    Activity.make({
      name,
      execute: Effect.flatMap(SqlClient, (sql) => Effect.orDie(sql`insert into step values (${id}, ${name})`))
    })
  yield* step("reserved")
  yield* DurableClock.sleep({ name: "pause", duration: "50 millis", inMemoryThreshold: 0 })
  const by = yield* DurableDeferred.await(Approved)
  yield* step("paid")
  return `approved by ${by}`
}))

const orders = (host: Host) =>
  OrderLayer.pipe(Layer.provideMerge(ClusterWorkflowEngine.layer), Layer.provideMerge(runner(host)))

const giving = (disableAdvisory: boolean): Program => ({
  name: `gives each shard to one runner, with ${disableAdvisory ? "rows" : "advisory locks"}`,
  setup: [],
  run: ({ pool, value }) =>
    Effect.gen(function*() {
      // No lock expires, however long the test takes.
      const config = ShardingConfig.layer({
        ...quick,
        shardLockExpiration: "10 minutes",
        shardLockDisableAdvisory: disableAdvisory
      })
      const open = Effect.fnUntraced(function*(port: number) {
        const scope = yield* Scope.fork(yield* Effect.scope)
        const layer = SqlRunnerStorage.layer.pipe(Layer.provide(config), Layer.provide(pool(3)))
        const services = yield* Scope.provide(Layer.build(Layer.fresh(layer)), scope)
        const storage = yield* Effect.provideContext(RunnerStorage, services)
        const address = RunnerAddress.make("localhost", port)
        yield* storage.register(Runner.make({ address, groups: ["default"], weight: 1 }), true)
        return { address, close: Scope.close(scope, Exit.void), storage }
      })
      const one = yield* open(1)
      const two = yield* open(2)
      const shards = [1, 2, 3].map((id) => ShardId.make("default", id))
      for (const { storage } of [one, two]) assert.strictEqual((yield* storage.getRunners).length, 2)
      assert.strictEqual((yield* one.storage.acquire(one.address, shards)).length, 3)
      assert.deepStrictEqual(yield* two.storage.acquire(two.address, shards), [])
      assert.strictEqual((yield* one.storage.refresh(one.address, shards)).length, 3)
      yield* one.storage.release(one.address, shards[0]!)
      assert.deepStrictEqual((yield* two.storage.acquire(two.address, shards)).map(({ id }) => id), [1])
      yield* one.storage.releaseAll(one.address)
      assert.strictEqual((yield* two.storage.acquire(two.address, shards)).length, 3)
      yield* one.close
      yield* two.close
      assert.strictEqual(yield* value(advisoryLocks), 0)
    }).pipe(Effect.scoped)
})

export const cluster: ReadonlyArray<Program> = [
  {
    name: "runs the messages of entities, each with its answer in one transaction",
    setup: ["create table payment (account text, amount int)"],
    run: (host) =>
      Effect.gen(function*() {
        const { kill, value } = host
        yield* Effect.gen(function*() {
          const clientFor = yield* Account.client
          const account = clientFor("ada")
          assert.strictEqual(yield* account.Pay({ id: "1", amount: 10 }), 10)
          assert.strictEqual(yield* account.Pay({ id: "2", amount: 20 }), 30)
          // The message is stored, so that a second time it is not run again.
          assert.strictEqual(yield* account.Pay({ id: "2", amount: 20 }), 30)
          assert.strictEqual(yield* Effect.flip(account.Pay({ id: "3", amount: 200 })), "too much")
          assert.strictEqual(yield* value("select sum(amount)::int4 from payment"), 30)
          // All its sessions die, that of its locks too.
          yield* kill
          const paid = Effect.orElseSucceed(
            account.Pay({ id: "4", amount: 5 }).pipe(Effect.catchDefect(() => Effect.fail("no"))),
            () => 0
          )
          yield* until("it pays again", Effect.map(paid, (sum) => sum === 35))
          assert.strictEqual(yield* value("select sum(amount)::int4 from payment"), 35)
        }).pipe(
          Effect.provide(AccountLayer.pipe(Layer.provideMerge(runner(host)))),
          // It tells of its lost sessions.
          Effect.provideService(References.MinimumLogLevel, "None")
        )
        assert.strictEqual(yield* value(advisoryLocks), 0)
      })
  },
  {
    name: "goes on with a workflow in the next process, where the last one has left it",
    setup: ["create table step (id text, name text)"],
    run: (host) =>
      Effect.gen(function*() {
        const steps = host.value("select string_agg(name, ',' order by name desc) from step")
        // Its first step is stored then, and the answer of that: without the answer the next process runs it again.
        const pauses = host.value(
          "select count(*)::int4 from cluster_messages where entity_type = 'Workflow/-/DurableClock'"
        )
        const executionId = yield* Order.execute({ id: "1" }, { discard: true }).pipe(
          Effect.tap(() => until("it pauses", Effect.map(pauses, (count) => count === 1))),
          Effect.provide(orders(host))
        )
        const result = yield* Effect.gen(function*() {
          const token = DurableDeferred.tokenFromExecutionId(Approved, { workflow: Order, executionId })
          yield* DurableDeferred.succeed(Approved, { token, value: "Ada" })
          return yield* Order.execute({ id: "1" })
        }).pipe(Effect.provide(orders(host)))
        assert.strictEqual(result, "approved by Ada")
        assert.strictEqual(yield* steps, "reserved,paid")
      })
  },
  giving(false),
  giving(true)
]
