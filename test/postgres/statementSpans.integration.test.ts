/** The spans of statements on a real server, beside those of Effect's own statements. */
import { PgClient } from "@effect/sql-pg"
import { assert } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Option, type Tracer } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { describeServer, make, until } from "../support/postgres.ts"
import { ways } from "../support/statements.ts"
import { surroundings } from "../support/surroundings.ts"
import { tracing } from "../support/tracing.ts"

/** What there is to know of a span. Its times are real. */
const told = (
  { attributes, kind, links, name, parent, sampled, status }: Tracer.Span
) => ({
  name,
  kind,
  sampled,
  links: links.map(({ attributes }) => attributes),
  attributes: [...attributes].filter(([key]) => key !== "db.client.connection.wait_time_ms"),
  waits: attributes.has("db.client.connection.wait_time_ms"),
  parent: Option.match(parent, { onNone: () => undefined, onSome: ({ spanId }) => spanId.length }),
  isTimed: status.startTime > 0n,
  exit: status._tag === "Ended" ? toldExit(status.exit) : "open"
})

const toldExit = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit) ? exit.value : Cause.pretty(exit.cause).split("\n")[0]

/** Effect's own statements over the same client: they run where the statements of the client run. */
const ownOf = (sql: PgClient.PgClient, connection: Effect.Success<PgClient.PgClient["reserve"]>) =>
  Statement.make(
    Effect.succeed(connection),
    PgClient.makeCompiler(),
    spanAttributesOf(sql),
    undefined,
    (f) => f(connection)
  )

const spanAttributesOf = ({ config }: PgClient.PgClient): ReadonlyArray<readonly [string, unknown]> => [
  ["tenant", 7],
  ["db.system.name", "postgresql"],
  ["db.namespace", config.database],
  ["server.address", config.host],
  ["server.port", config.port]
]

const statements: Record<string, (sql: Statement.Constructor) => Statement.Statement<unknown>> = {
  template: (sql) => sql`select n from t where n > ${0} order by n`,
  composed: (sql) => sql`select n from t where n in ${sql.in([1, 2])} order by n`,
  unsafe: (sql) => sql.unsafe("select $1::int4 as n", [1]),
  "that the server refuses": (sql) => sql`select nothing from t`,
  "with a value that cannot be stored": (sql) => sql`select ${undefined} as n`,
  "that is never sent": (sql) => sql`select ${{}} as n`
}

/** All but those of a wait for a connection. */
const ofStatements = (spans: ReadonlyArray<Tracer.Span>) =>
  spans.filter(({ name }) => name !== "ConnectionPool.acquire")

const compared = Effect.fnUntraced(function*(
  sqls: ReadonlyArray<Statement.Constructor>,
  run: (sql: Statement.Constructor) => Effect.Effect<unknown, unknown>,
  around: (effect: Effect.Effect<unknown, unknown>) => Effect.Effect<unknown, unknown>
) {
  const [ours, own] = yield* Effect.forEach(sqls, (sql) =>
    Effect.gen(function*() {
      const { spans, tracer } = tracing()
      const exit = yield* Effect.exit(Effect.withTracer(around(run(sql)), tracer))
      return [toldExit(exit), ofStatements(spans).map(told)] as const
    }))
  assert.deepStrictEqual(ours, own)
  return ours![1]
})

describeServer("the span of a statement of PostgreSQL", (it) => {
  it.effect(
    "is that of Effect's own, however it is run, ends and is surrounded, alone and in a transaction",
    () =>
      Effect.gen(function*() {
        const { db } = yield* make({
          spanAttributes: { tenant: 7 },
          setup: ["create table t (n int4)", "insert into t values (1), (2)"]
        })
        const own = ownOf(db.sql, yield* db.sql.reserve)
        let spans = 0
        for (const statement of Object.values(statements)) {
          for (const way of Object.values(ways)) {
            const run = (sql: Statement.Constructor): Effect.Effect<unknown, SqlError> =>
              Effect.suspend(() => way(statement(sql)))
            spans += (yield* compared([db.sql, own], run, surroundings["span"]!)).length
          }
        }
        assert.isAbove(spans, Object.keys(statements).length)
        for (const [name, around] of Object.entries(surroundings)) {
          if (name === "ticking clock") continue
          yield* compared([db.sql, own], statements["template"]!, around)
          yield* compared(
            [db.sql, own],
            statements["that the server refuses"]!,
            (effect) => Effect.withSpan(around(effect), "outer")
          )
        }
        const seen = yield* compared([db.sql, own], statements["template"]!, surroundings["span"]!)
        assert.deepStrictEqual(seen[1]!.attributes, [
          ...spanAttributesOf(db.sql),
          ["effect.sql.method", "execute"],
          ["db.query.text", "select n from t where n > $1 order by n"]
        ])
        yield* db.sql.withTransaction(compared(
          [db.sql, own],
          statements["template"]!,
          surroundings["span"]!
        ))
      }),
    60_000
  )

  it.effect("lasts until the server has ended an interrupted statement, and has the interrupt", () =>
    Effect.gen(function*() {
      const { db } = yield* make()
      const { spans, tracer } = tracing()
      const running = yield* Effect.forkChild(Effect.withTracer(db.sql`select pg_sleep(${60})`, tracer))
      yield* until("it runs", Effect.map(db.primary.stats, ({ inUse }) => inUse === 1))
      const [span] = ofStatements(spans)
      assert.strictEqual(span!.status._tag, "Started")
      yield* Fiber.interrupt(running)
      const { status } = span!
      assert.isTrue(status._tag === "Ended" && Exit.hasInterrupts(status.exit))
      assert.strictEqual((yield* db.primary.stats).inUse, 0)
    }))

  it.effect("is made only if there is a tracer, and a transformer gets and changes the statement", () =>
    Effect.gen(function*() {
      const { db } = yield* make()
      const { spans, tracer } = tracing()
      yield* db.sql`select ${1}::int4`
      assert.strictEqual(spans.length, 0)
      const texts: Array<string> = []
      const changed = Effect.provideService(
        db.sql`select ${1}::int4 as n`,
        Statement.CurrentTransformer,
        (self, sql) => {
          texts.push(self.compile()[0])
          return Effect.succeed(sql`${self} union all select ${2}`)
        }
      )
      assert.deepStrictEqual(yield* changed, [{ n: 1 }, { n: 2 }])
      assert.deepStrictEqual(yield* db.sql.withTransaction(Effect.withTracer(changed, tracer)), [{ n: 1 }, { n: 2 }])
      assert.deepStrictEqual(texts, ["select $1::int4 as n", "select $1::int4 as n"])
      assert.deepStrictEqual(ofStatements(spans).map(({ attributes }) => attributes.get("db.query.text")), [
        "select $1::int4 as n union all select $2"
      ])
    }))
})
