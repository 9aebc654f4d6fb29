/** Statements of the client beside Effect's own, which they replace where nobody could tell: without a database. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Equal, Exit, Hash, identity, Inspectable, Stream, Tracer } from "effect"
import * as Statement from "effect/sql/Statement"
import * as fc from "fast-check"
import * as Statements from "../../src/internal/sqlClient/effectStatement.ts"
import { Connections } from "../../src/internal/sqlClient/sqlConnection.ts"
import { StatementSpans } from "../../src/internal/sqlClient/statementSpan.ts"
import { execute, type Target } from "../../src/sqlite/internal/client/targets.ts"
import type { SqliteConnection } from "../../src/sqlite/internal/contract/connection.ts"
import { StatementTexts } from "../../src/sqlite/internal/sql/statementKind.ts"

type Sql = Statement.Constructor

interface Options {
  readonly transformQueryNames?: (name: string) => string
  readonly transform?: <A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>
}

/** Statements that tell what would be done on a connection: the operation, the text, the parameters. */
const make = ({ transform, transformQueryNames }: Options = {}) => {
  const done: Array<readonly [operation: string, sql: string, params: ReadonlyArray<unknown>]> = []
  const handle = {
    rows: (operation: string, sql: string, params: ReadonlyArray<unknown>) => {
      done.push([operation, sql, [...params]])
      return [{ name: operation }]
    },
    rowsOrResult: (operation: string, sql: string, params: ReadonlyArray<unknown>) => {
      done.push([operation, sql, [...params]])
      return { changes: 1 }
    }
  }
  const connection = { handle: () => handle } as unknown as SqliteConnection
  const target: Target = {
    run: (_, query, way) => Effect.sync(() => execute(connection, query, way, false, true)),
    stream: ({ params, text }) => Stream.sync(() => done.push(["stream", text.sql, params]))
  }
  const texts = new StatementTexts()
  const acquirer = Effect.succeed(new Connections(texts).toConnection(target))
  const original = Statement.make(acquirer, Statement.makeCompilerSqlite(transformQueryNames), [], transform)
  const spans = new StatementSpans([])
  const sql = Statements.make({ original, targetOf: () => target, texts, placeholder: () => "?", transform, spans })
  return {
    sql,
    original,
    /** How an effect ended, and what it did. */
    outcome: (effect: () => Effect.Effect<unknown, unknown>) => {
      done.length = 0
      const exit = Effect.runSyncExit(Effect.suspend(effect))
      return [Exit.isSuccess(exit) ? exit.value : String(exit.cause), [...done]]
    }
  }
}

/** A template as the language makes them. */
const template = (parts: ReadonlyArray<string>): TemplateStringsArray =>
  Object.freeze(Object.assign([...parts], { raw: Object.freeze([...parts]) }))

const ways: ReadonlyArray<(statement: Statement.Statement<unknown>) => Effect.Effect<unknown, unknown>> = [
  (statement) => statement,
  (statement) => statement.withoutTransform,
  (statement) => statement.unprepared,
  (statement) => statement.values,
  (statement) => statement.valuesUnprepared,
  (statement) => statement.raw,
  (statement) => Stream.runCollect(statement.stream)
]

const visible = Effect.withTracer(Tracer.make({ span: (options) => new Tracer.NativeSpan(options) }))

// -- what may stand in a template -----------------------------------------------------------------------------------------

const value = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    undefined,
    "",
    true,
    Symbol.for("a"),
    new Date(0),
    [1, 2],
    [],
    () => 1,
    Object.create(null)
  ),
  fc.string(),
  fc.double(),
  fc.bigInt(),
  fc.uint8Array(),
  fc.constantFrom<unknown>({ _tag: "Other" }, { _tag: 1 }, { a: 1 }, { raw: [] })
)

const record = fc.dictionary(fc.constantFrom("a", "b", "c d"), value, { maxKeys: 3 })

/** Rows that Effect stores whole: the first has all columns. Others are refused: see `rowsOfInsert.integration.test.ts`. */
const records = fc.array(record, { minLength: 1, maxLength: 2 }).map((rows) =>
  rows.map((row) => Object.fromEntries(Object.entries(row).filter(([column]) => Object.hasOwn(rows[0]!, column))))
)

/** Makes an argument with the statements it is for. */
type Arg = (sql: Sql) => unknown

const { arg } = fc.letrec<{ readonly arg: Arg }>((tie) => ({
  arg: fc.oneof(
    { maxDepth: 3, depthIdentifier: "args" },
    value.map((value): Arg => () => value),
    fc.string().map((text): Arg => (sql) => sql.literal(text)),
    fc.string().map((name): Arg => (sql) => sql(name)),
    fc.array(value, { maxLength: 3 }).map((values): Arg => (sql) => sql.in(values)),
    fc.array(value, { maxLength: 3 }).map((values): Arg => (sql) => sql.in("a", values)),
    record.map((record): Arg => (sql) => sql.insert(record)),
    records.map((records): Arg => (sql) => sql.insert(records as never).returning("*")),
    record.map((record): Arg => (sql) => sql.update(record, ["a"])),
    records.map((records): Arg => (sql) => sql.updateValues(records as never, "x")),
    fc.array(fc.string(), { maxLength: 3 }).map((clauses): Arg => (sql) => sql.and(clauses)),
    fc.array(fc.string(), { maxLength: 3 }).map((values): Arg => (sql) => sql.csv("order by", values)),
    fc.tuple(fc.string(), fc.array(value, { maxLength: 2 })).map(([text, params]): Arg => (sql) =>
      sql.unsafe(text, params)
    ),
    fc.constant<Arg>(() => ({ _tag: "Custom", kind: "k", paramA: 1, paramB: 2, paramC: 3 })),
    fc.tuple(fc.array(tie("arg"), { maxLength: 2 }), fc.boolean()).map(([args, isRun]): Arg => (sql) => {
      const statement = sql(template(["(", ...args.map(() => ", ")]), ...args.map((arg) => arg(sql)))
      if (isRun) Effect.runSyncExit(statement)
      return statement
    })
  )
}))

/** A template, and several lists of arguments for it: what is remembered of it must not depend on any of them. */
const written = fc.nat(3).chain((length) =>
  fc.record({
    parts: fc.array(fc.string(), { minLength: length + 1, maxLength: length + 1 }),
    calls: fc.array(fc.array(arg, { minLength: length, maxLength: length }), { minLength: 1, maxLength: 3 })
  })
)

describe("a statement", () => {
  for (const transformQueryNames of [undefined, (name: string) => name.toUpperCase()]) {
    it(`says what Effect's own says${transformQueryNames ? ", with names transformed" : ""}`, () => {
      let texts = 0
      fc.assert(
        fc.property(written, ({ calls, parts }) => {
          const { original, outcome, sql } = make(transformQueryNames && { transformQueryNames })
          const strings = template(parts)
          for (const args of calls) {
            const ours = sql(strings, ...args.map((arg) => arg(sql)))
            const own = original(strings, ...args.map((arg) => arg(original)))
            for (const way of ways) {
              const expected = outcome(() => way(own))
              assert.deepStrictEqual(outcome(() => way(ours)), expected)
              // Seen by somebody, and again after that.
              assert.deepStrictEqual(outcome(() => visible(way(ours))), expected)
              assert.deepStrictEqual(outcome(() => way(ours)), expected)
              texts += (expected[1] as Array<unknown>).length
            }
            assert.deepStrictEqual(
              outcome(() => Effect.sync(() => ours.segments)),
              outcome(() => Effect.sync(() => own.segments))
            )
            for (const withoutTransform of [undefined, false, true]) {
              const compile = (one: Statement.Statement<unknown>) =>
                outcome(() => Effect.sync(() => one.compile(withoutTransform)))
              assert.deepStrictEqual(compile(ours), compile(own))
            }
          }
        }),
        { numRuns: 500 }
      )
      assert.isAbove(texts, 500)
    })
  }

  it("has its rows transformed where Effect's own has", () => {
    const { original, outcome, sql } = make({
      transform: Statement.defaultTransforms((name) => name.toUpperCase()).array
    })
    for (const way of ways) {
      assert.deepStrictEqual(outcome(() => way(sql`select ${1}`)), outcome(() => way(original`select ${1}`)))
      assert.deepStrictEqual(
        outcome(() => way(sql`select ${sql("a")}`)),
        outcome(() => way(original`select ${original("a")}`))
      )
    }
    assert.deepStrictEqual(outcome(() => sql`select ${1}`)[0], [{ NAME: "execute" }])
    assert.deepStrictEqual(outcome(() => sql`select ${1}`.withoutTransform)[0], [{ name: "execute" }])
  })

  it("reads a template again each time if the language did not make it", () => {
    const { outcome, sql } = make()
    const strings = Object.assign(["select ", ""], { raw: ["select ", ""] })
    const text = () => outcome(() => sql(strings, 1))[1]
    assert.deepStrictEqual(text(), [["execute", "select ?", [1]]])
    strings[0] = "select 1 + "
    assert.deepStrictEqual(text(), [["execute", "select 1 + ?", [1]]])
  })

  it("keeps the parameters it had when it was first run", () => {
    for (
      const [first, second] of [[visible, visible], [visible, identity], [identity, visible], [identity, identity]]
    ) {
      const { original, outcome, sql } = make()
      const params = (sql: Sql) => {
        const params: Array<unknown> = [1]
        const statement = sql.unsafe("select ?, ?", params)
        params.push(2)
        const before = outcome(() => first!(statement))
        params[0] = 3
        return [before, outcome(() => second!(statement)), statement.compile()]
      }
      assert.deepStrictEqual(params(sql), params(original))
    }
  })

  it("of a text that is none, or with parameters that are no array, is Effect's own", () => {
    const { original, outcome, sql } = make()
    const odd: ReadonlyArray<readonly [text: unknown, params: unknown]> = [
      [1, [2]],
      ["select :a", { a: 1 }],
      ["select 1", null]
    ]
    for (const [text, params] of odd) {
      const unsafe = (sql: Sql) => outcome(() => sql.unsafe(text as string, params as ReadonlyArray<unknown>))
      assert.deepStrictEqual(unsafe(sql), unsafe(original))
    }
  })

  it("is refused where Effect's own is", () => {
    const { original, sql } = make()
    const throws = (f: (sql: Sql) => unknown) => {
      const thrown = [sql, original].map((sql) => {
        try {
          return ["no", f(sql)]
        } catch (thrown) {
          return ["thrown", String(thrown)]
        }
      })
      assert.deepStrictEqual(thrown[0], thrown[1])
      assert.strictEqual(thrown[0]![0], "thrown")
    }
    throws((sql) => sql(["select 1"] as unknown as TemplateStringsArray))
    throws((sql) => sql(Object.freeze(["select 1"]) as unknown as TemplateStringsArray))
    throws((sql) => sql(undefined as unknown as TemplateStringsArray))
    throws((sql) => sql(template(["select ", ""]), 1, 2))
    throws((sql) => sql(template(["select ", undefined as unknown as string]), 1))
    throws((sql) =>
      sql`select ${{
        get _tag() {
          throw new Error("no tag")
        }
      }}`
    )
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    throws((sql) => sql`select ${proxy}`)
  })

  it("may have arguments missing, as Effect's own", () => {
    const { original, outcome, sql } = make()
    const strings = template(["select ", " + ", ""])
    for (const args of [[], [1], [1, 2]]) {
      assert.deepStrictEqual(outcome(() => sql(strings, ...args)), outcome(() => original(strings, ...args)))
    }
  })

  it("is shown, compared and hashed as Effect's own", () => {
    const { original, sql } = make()
    for (const make of [(sql: Sql) => sql`select ${1}`, (sql: Sql) => sql.unsafe("select ?", [1])]) {
      assert.deepStrictEqual(make(sql).toJSON(), make(original).toJSON())
      assert.strictEqual(String(make(sql)), String(make(original)))
      assert.deepStrictEqual(
        make(sql)[Inspectable.NodeInspectSymbol](),
        make(original)[Inspectable.NodeInspectSymbol]()
      )
      assert.isTrue(Equal.equals(make(sql), make(sql)))
      assert.strictEqual(Hash.hash(make(sql)), Hash.hash(make(sql)))
      assert.isFalse(Equal.equals(make(sql), sql`select ${2}`))
      assert.isFalse(Equal.equals(make(sql), 1))
      assert.isTrue(Effect.isEffect(make(sql)) && Statement.isFragment(make(sql)))
    }
  })
})

describe("the pace of statements", () => {
  it("has a fiber let others go first as often as with Effect's own", () => {
    const { original, sql } = make()
    const turns = (statement: Statement.Statement<unknown>) => {
      let turns = 0
      let isOver = false
      const count = Effect.whileLoop({
        while: () => !isOver,
        body: () => Effect.yieldNow,
        step: () => {
          turns++
        }
      })
      return Effect.runPromise(Effect.gen(function*() {
        yield* Effect.forkChild(count)
        for (let n = 0; n < 5000; n++) yield* statement
        isOver = true
        return turns
      }))
    }
    return Promise.all([turns(sql`select ${1}`), turns(original`select ${1}`)]).then(([ours, own]) => {
      assert.isAtLeast(ours, own / 2)
      assert.isAtMost(ours, own * 2)
    })
  })
})

describe("the text of a template", () => {
  it("is read once, unless it is so long that it is not kept", () => {
    class Counting extends StatementTexts {
      reads = 0

      override read(sql: string) {
        this.reads++
        return super.read(sql)
      }
    }
    const texts = new Counting()
    const sql = Statements.make({
      original: Statement.make(Effect.never, Statement.makeCompilerSqlite(), [], undefined),
      targetOf: () => undefined,
      texts,
      placeholder: () => "?",
      transform: undefined,
      spans: new StatementSpans([])
    })
    const readsOf = (text: string) => {
      const before = texts.reads
      const parts = template([`select ${text}, `, ""])
      for (let n = 0; n < 3; n++) {
        assert.deepStrictEqual(sql(parts, n).compile(), [`select ${text}, ?`, [n]])
      }
      return texts.reads - before
    }
    assert.strictEqual(readsOf("1"), 1)
    assert.strictEqual(readsOf(`'${"x".repeat(10_000)}'`), 3)
  })
})
