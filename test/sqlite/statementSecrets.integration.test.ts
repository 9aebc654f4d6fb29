/** The parameters of statements appear nowhere in what a pool tells of statements. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Logger, Schema, Stream } from "effect"
import { type PoolEvent } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { settle } from "../support/pools.ts"

const secret = "s3cr3t"

const Step = Schema.Struct({
  way: Schema.Literals(["sql", "values", "write", "writeSync", "readSync", "stream", "transaction", "named", "fails"]),
  /** Characters that might break out of a text. */
  around: Schema.Literals(["", "'", "\"", "?", "\n", "$1", "--"])
})

const run = (pool: SqlitePool.SqlitePool, { around, way }: typeof Step.Type): Effect.Effect<unknown, unknown> => {
  const value = `${around}${secret}${around}`
  const { sql } = pool
  switch (way) {
    case "sql":
      return sql`insert into t(a) values (${value})`
    case "values":
      return sql`select a from t where a in ${sql.in([value, value])}`.values
    case "write":
      return pool.write((connection) => connection.run("insert into t(a) values (?)", [value]))
    case "writeSync":
      return pool.writeSync((connection) => connection.runUnsafe("insert into t(a) values (?), (?)", [value, value]))
    case "readSync":
      return pool.readSync((reader) => reader.queryUnsafe("select a from t where a = ?", [value]))
    case "stream":
      return Stream.runDrain(pool.stream("select a from t where a = ?", [value]))
    case "transaction":
      return pool.transaction(sql`update t set a = ${value}`)
    case "named":
      return pool.read((reader) => reader.query("select a from t where a = :a", { a: value }))
    case "fails":
      return sql`insert into u(a) values (${value})`
  }
}

it.effect.prop(
  "the parameters of statements are in no event, warning, list, holder or timeout",
  { steps: Schema.Array(Step).check(Schema.isMinLength(1), Schema.isMaxLength(6)) },
  ({ steps }) =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      const told = yield* Effect.scoped(Effect.gen(function*() {
        const pool = yield* SqlitePool.make({ filename: ":memory:", slowStatement: 0, drainTimeout: 0 })
        const events: Array<PoolEvent.PoolEvent> = []
        yield* Effect.forkScoped(
          Stream.runForEach(pool.writer.events, (event) => Effect.sync(() => void events.push(event))),
          { startImmediately: true }
        )
        yield* pool.sql`create table t(a text)`
        yield* pool.sql`create table u(a integer check (a > 0 and typeof(a) = 'integer'))`
        for (const step of steps) yield* Effect.exit(run(pool, step))
        const held = yield* Effect.forkChild(
          pool.transaction(Effect.andThen(Effect.ignore(run(pool, steps[0]!)), Effect.never)),
          { startImmediately: true }
        )
        yield* settle
        const holders = yield* pool.writer.holders
        const late = yield* Effect.flip(pool.write(() => Effect.void, { timeout: 0 }))
        yield* Fiber.interrupt(held)
        yield* settle
        const list = yield* pool.slowStatements
        assert.isNotEmpty(list)
        assert.isNotEmpty(events.filter(({ _tag }) => _tag === "StatementSlow"))
        return JSON.stringify([events, list, holders, late.message, late])
      })).pipe(Effect.provide(Logger.layer([logger])))
      assert.isNotEmpty(lines)
      assert.notInclude(told, secret)
      assert.notInclude(lines.join("\n"), secret)
    }),
  { arbitrary: { runs: 30 } }
)
