import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Exit, Stream } from "effect"
import { SqliteConnection, SqlitePool, SqliteWorkerPool } from "effect-connection-pool/sqlite"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import { file } from "../support/files.ts"
import { budgets } from "../support/modes/mode.ts"

const { failsWith } = PoolAssert

class Refused extends Data.TaggedError("Refused") {}

const schema = `
  create table author(id integer primary key, name text);
  create table book(id integer primary key, author integer references author(id) on delete cascade, title text);
  insert into author values (1, 'Ada'), (2, 'Grace');
  insert into book values (10, 1, 'Notes'), (20, 2, 'Compilers');
`

const make = Effect.fnUntraced(function*(options?: SqlitePool.TemporaryOptions & { readonly memory?: boolean }) {
  const { memory, ...rest } = options ?? {}
  const pool = memory === true
    ? yield* SqlitePool.make({ filename: ":memory:", drainTimeout: 0, ...rest })
    : yield* SqlitePool.makeTemporary({ drainTimeout: 0, ...rest })
  yield* pool.write((connection) => connection.exec(schema))
  return pool
})

/** SQLite's own recipe. */
const rebuild = ({ sql }: SqlitePool.SqlitePool) =>
  Effect.gen(function*() {
    yield* sql`create table author_new(id integer primary key, name text not null)`
    yield* sql`insert into author_new select id, name from author`
    yield* sql`drop table author`
    yield* sql`alter table author_new rename to author`
  })

const rows = (pool: SqlitePool.SqlitePool, sql: string) => pool.read((reader) => reader.values(sql))

/** Foreign keys are enforced on the connection that the next caller gets. */
const areOn = (pool: SqlitePool.SqlitePool) =>
  Effect.gen(function*() {
    const orphan = pool.write((connection) => connection.run("insert into book values (99, 99, 'Nobody')"))
    assert.strictEqual(SqliteConnection.codeOf(yield* Effect.orDie(Effect.flip(orphan))), 787)
    const [[on]] = (yield* pool.write((connection) => connection.values("pragma foreign_keys"))) as [[number]]
    assert.strictEqual(on, 1)
  })

describe("a transaction with foreign keys off", () => {
  for (const memory of [false, true]) {
    it.effect(`rebuilds a table whose children stay${memory ? ", in memory too" : ""}`, () =>
      Effect.gen(function*() {
        const pool = yield* make({ memory })
        yield* pool.transaction(rebuild(pool), { foreignKeys: "off" })
        assert.deepStrictEqual(yield* rows(pool, "select id, author from book"), [[10, 1], [20, 2]])
        yield* areOn(pool)
        assert.strictEqual((yield* pool.stats).writer.connects, 1)
        // Without it, the children are deleted with the table.
        yield* pool.transaction(rebuild(pool))
        assert.deepStrictEqual(yield* rows(pool, "select id from book"), [])
      }))
  }

  it.effect("is refused what it violates, with the rows, and is rolled back", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const error = yield* failsWith(
        pool.transaction(
          Effect.andThen(
            pool.sql`delete from author where id = 2`,
            pool.sql`insert into book values (30, 7, 'Ghost')`
          ),
          { foreignKeys: "off" }
        ),
        "ForeignKeysViolatedError"
      )
      assert.deepStrictEqual({ ...error }, {
        _tag: "ForeignKeysViolatedError",
        pool: "sqlite",
        count: 2,
        violations: [
          { table: "book", rowid: 20, parent: "author", columns: ["author"], values: ["2"] },
          { table: "book", rowid: 30, parent: "author", columns: ["author"], values: ["7"] }
        ]
      } as never)
      assert.strictEqual(
        error.message,
        "pool \"sqlite\": the transaction violates foreign keys in 2 rows, and was rolled back: book(author) = 2 points to no row " +
          "of author, rowid 20; book(author) = 7 points to no row of author, rowid 30"
      )
      assert.deepStrictEqual(yield* rows(pool, "select id from author"), [[1], [2]])
      yield* areOn(pool)
    }))

  it.effect("lists some of the rows, and how many there are", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const error = yield* failsWith(
        pool.transaction(
          pool.write((connection) =>
            connection.exec(
              "insert into book select value + 100, 50, '' from json_each('[" + Array.from({ length: 500 }, (_, n) =>
                n) +
                "]')"
            )
          ),
          { foreignKeys: "off" }
        ),
        "ForeignKeysViolatedError"
      )
      assert.deepStrictEqual([error.count, error.violations.length], [500, 20])
      assert.include(error.message, "; and 495 more")
    }))

  it.effect("names a row whose rowid is beyond 2^53 exactly, as a bigint", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const rowids = [2n ** 53n + 1n, -(2n ** 53n) - 1n]
      const error = yield* failsWith(
        pool.transaction(
          Effect.forEach(rowids, (id) => pool.sql`insert into book values (${id}, 50, 'Nowhere')`),
          { foreignKeys: "off" }
        ),
        "ForeignKeysViolatedError"
      )
      assert.sameMembers(error.violations.map(({ rowid }) => rowid) as Array<bigint>, rowids)
      assert.include(error.message, "rowid 9007199254740993")
    }))

  it.effect("names the row of a table that a temporary one hides", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const error = yield* failsWith(
        pool.transaction(
          Effect.gen(function*() {
            yield* pool.sql`create temp table book(author text)`
            yield* pool.sql`insert into main.book values (30, 7, 'Ghost')`
            yield* pool.sql`insert into temp.book(rowid, author) values (30, 'hidden')`
          }),
          { foreignKeys: "off" }
        ),
        "ForeignKeysViolatedError"
      )
      assert.deepEqual(error.violations, [
        { table: "book", rowid: 30, parent: "author", columns: ["author"], values: ["7"] }
      ])
    }))

  it.effect("is not held to what was so before, also if the table is rebuilt with other rowids", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      yield* pool.write((connection) =>
        connection.exec(`pragma foreign_keys = off;
          create table note(author integer references author(id), text);
          create table tag(name text primary key, author integer references author(id)) without rowid;
          insert into note(rowid, author, text) values (100, 50, 'old'), (200, 1, 'good'), (300, 50, 'old');
          insert into tag values ('old', 50);`)
      )
      const again = Effect.gen(function*() {
        const { sql } = pool
        yield* sql`create table note_new(author integer references author(id), text)`
        yield* sql`insert into note_new select author, text from note where text = 'old'`
        yield* sql`drop table note`
        yield* sql`alter table note_new rename to note`
      })
      yield* pool.transaction(again, { foreignKeys: "off" })
      assert.deepStrictEqual(yield* rows(pool, "select rowid, author from note"), [[1, 50], [2, 50]])
      // One more than before, of the same kind.
      const another = pool.sql`insert into note values (50, 'new')`
      const error = yield* failsWith(pool.transaction(another, { foreignKeys: "off" }), "ForeignKeysViolatedError")
      assert.strictEqual(error.count, 1)
      const tag = pool.sql`insert into tag values ('new', 50)`
      const unseen = yield* failsWith(pool.transaction(tag, { foreignKeys: "off" }), "ForeignKeysViolatedError")
      assert.deepStrictEqual(unseen.violations, [{ table: "tag", parent: "author", columns: ["author"] }])
    }))

  it.effect("looks at names and values as they are", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      yield* pool.write((connection) =>
        connection.exec(`create table "a ""b"(rowid text, "c d" text primary key, e, unique(e, "c d"));
          create table child(x, y text, foreign key(x, y) references "a ""b"(e, "c d"))`)
      )
      const orphan = pool.sql`insert into child values (x'00ff', ${"it's"})`
      const error = yield* failsWith(pool.transaction(orphan, { foreignKeys: "off" }), "ForeignKeysViolatedError")
      assert.deepStrictEqual(error.violations, [
        { table: "child", rowid: 1, parent: "a \"b", columns: ["x", "y"], values: ["X'00FF'", "'it''s'"] }
      ])
    }))

  it.effect("enforces them again, however it ends", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const orphan = pool.sql`insert into book values (30, 7, 'Ghost')`
      yield* failsWith(
        pool.transaction(Effect.andThen(orphan, Effect.fail(new Refused())), { foreignKeys: "off" }),
        "Refused"
      )
      yield* areOn(pool)
      yield* Effect.exit(pool.transaction(Effect.andThen(orphan, Effect.die("no")), { foreignKeys: "off" }))
      yield* areOn(pool)
      // SQLite has ended it by itself: the connection is opened anew.
      const lost = pool.write((connection) => connection.run("insert or rollback into author values (1, 'again')"))
      const error = yield* failsWith(
        pool.transaction(Effect.exit(lost), { foreignKeys: "off" }),
        "TransactionLostError"
      )
      assert.include(error.message, "nothing of it is stored")
      yield* areOn(pool)
      assert.deepStrictEqual(yield* rows(pool, "select id from book order by id"), [[10], [20]])
    }))

  it.effect("never lends a connection without them, wherever it is interrupted", () =>
    Effect.gen(function*() {
      const report = yield* Sweep.run({
        setup: make(),
        scenario: (pool) =>
          pool.transaction(
            Effect.gen(function*() {
              yield* pool.sql`insert into book values (30, 7, 'Ghost')`
              yield* Effect.yieldNow
              yield* rebuild(pool)
              yield* pool.sql`insert into author values (7, 'Ghost')`
            }),
            { foreignKeys: "off" }
          ),
        check: (pool, exit) =>
          Effect.orDie(Effect.gen(function*() {
            const books = yield* rows(pool, "select count(*) from book")
            if (Exit.isSuccess(exit)) assert.deepStrictEqual(books, [[3]])
            assert.deepStrictEqual(yield* rows(pool, "pragma foreign_key_check"), [])
            yield* areOn(pool)
          })),
        turns: [0, 12],
        budgets: budgets(3, 20)
      })
      assert.isAbove(report.interrupted, report.cases / 5)
    }), 120_000)

  it.effect("can only be the outermost, and only one that writes", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const inner = pool.transaction(Effect.void, { foreignKeys: "off" })
      const error = yield* failsWith(pool.transaction(inner), "TransactionOptionsError")
      assert.strictEqual(
        error.message,
        "pool \"sqlite\": transaction: foreignKeys is \"off\", but must be given to the outermost transaction: within one, " +
          "SQLite does not change how foreign keys are enforced"
      )
      yield* pool.transaction(Effect.andThen(inner, rebuild(pool)), { foreignKeys: "off" })
      const reading = pool.transaction(Effect.void, { foreignKeys: "off", readOnly: true })
      assert.include((yield* failsWith(reading, "TransactionOptionsError")).message, "nothing is written there")
      const wrong = pool.transaction(Effect.void, { foreignKeys: "on" as "off" })
      assert.include((yield* failsWith(wrong, "TransactionOptionsError")).message, "\"off\" or \"deferred\"")
      const misspelt = pool.transaction(Effect.void, { foreignKey: "off" } as never)
      assert.include((yield* failsWith(misspelt, "TransactionOptionsError")).message, "did you mean foreignKeys?")
    }))
})

describe("a transaction with deferred foreign keys", () => {
  it.effect("checks them when it is committed, and only then", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      yield* pool.transaction(
        Effect.andThen(
          pool.sql`insert into book values (30, 3, 'Later')`,
          pool.sql`insert into author values (3, 'Later')`
        ),
        { foreignKeys: "deferred" }
      )
      const orphan = pool.sql`insert into book values (40, 4, 'Never')`
      const error = yield* failsWith(pool.transaction(orphan, { foreignKeys: "deferred" }), "TransactionCommitError")
      assert.strictEqual(SqliteConnection.codeOf(error.cause), 787)
      yield* areOn(pool)
      // The next one is not deferred any more.
      const next = yield* failsWith(pool.transaction(orphan), "SqlError")
      assert.strictEqual(SqliteConnection.codeOf(next), 787)
      assert.deepStrictEqual(yield* rows(pool, "select id from book order by id"), [[10], [20], [30]])
    }))

  // SQLite keeps what it has compiled for them, and does not undo such a statement when it fails later.
  const orphan = "insert into book values (99, 99, 'Nobody')"
  const defer = "pragma defer_foreign_keys = on"
  const ways: Record<string, (pool: SqlitePool.SqlitePool) => Effect.Effect<unknown, unknown>> = {
    "the option": ({ sql, transaction }) => transaction(sql.unsafe(orphan), { foreignKeys: "deferred" }),
    "the option, in a batch": (pool) => Stream.runDrain(pool.batch([[orphan]], { foreignKeys: "deferred" })),
    "the pragma": ({ sql, transaction }) => transaction(Effect.andThen(sql.unsafe(defer), sql.unsafe(orphan))),
    "the pragma, in a savepoint that is undone": ({ sql, transaction }) =>
      transaction(Effect.exit(transaction(
        Effect.andThen(Effect.andThen(sql.unsafe(defer), sql.unsafe(orphan)), Effect.fail("no"))
      ))),
    "the pragma, in `writeSync`": ({ writeSync }) =>
      writeSync((connection) => {
        connection.queryUnsafe(defer)
        connection.runUnsafe(orphan)
      }),
    "the pragma, in a transaction by hand": ({ write }) =>
      write((connection) =>
        Effect.gen(function*() {
          yield* connection.exec("begin")
          yield* connection.query(defer)
          yield* connection.run(orphan)
          yield* connection.exec("rollback")
        })
      ),
    "the pragma, before a transaction by hand": ({ write }) =>
      write((connection) =>
        Effect.gen(function*() {
          yield* connection.query(defer)
          yield* connection.query("begin")
          yield* connection.run(orphan)
          yield* connection.run("delete from book where id = 99")
          yield* connection.query("commit")
        })
      ),
    "the pragma, in a script that begins another transaction": ({ write }) =>
      write((connection) =>
        Effect.gen(function*() {
          yield* connection.exec(`begin; ${defer}`)
          yield* connection.run(orphan)
          yield* connection.exec("rollback; begin")
          yield* Effect.exit(connection.run(orphan))
          yield* connection.exec("commit")
        })
      )
  }

  for (const [way, run] of Object.entries(ways)) {
    it.effect(`does not change what a failed statement leaves later: ${way}`, () =>
      Effect.gen(function*() {
        const pool = yield* make({ groupCommit: true })
        // It is compiled for keys that are not deferred, first.
        yield* Effect.exit(pool.sql.unsafe(orphan))
        yield* Effect.exit(run(pool))
        const failures = yield* pool.transaction(Effect.gen(function*() {
          const failure = yield* Effect.flip(pool.sql.unsafe(orphan))
          yield* pool.sql`insert into author values (3, 'Barbara')`
          return failure
        }))
        assert.strictEqual(SqliteConnection.codeOf(failures), 787)
        // Callers that share a commit, of whom one fails.
        const exits = yield* Effect.all([
          Effect.exit(pool.sql`insert into author values (4, 'Frances')`),
          Effect.exit(pool.sql.unsafe(orphan)),
          Effect.exit(pool.sql`insert into author values (5, 'Jean')`)
        ], { concurrency: "unbounded" })
        assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, false, true])
        assert.deepStrictEqual(yield* rows(pool, "select id from author"), [[1], [2], [3], [4], [5]])
        assert.deepStrictEqual(yield* rows(pool, "select id from book"), [[10], [20]])
        assert.deepStrictEqual(yield* rows(pool, "pragma foreign_key_check"), [])
      }))
  }
})

describe("a key that the schema has checked at the commit", () => {
  const deferred = `create table parent(id integer primary key);
    create table child(p references parent deferrable initially deferred); create table t(n)`
  const on = "pragma defer_foreign_keys = on"
  // SQLite forgets what is violated so far if the pragma is turned off, even where it is off already.
  const middles: Record<string, ReadonlyArray<string>> = {
    "the pragma is set": [on],
    "the pragma is set, and others run": [on, "insert into t values (1)", "select n from t"],
    "the pragma is set twice": [on, on],
    "the pragma is read": ["pragma defer_foreign_keys", "insert into t values (1)", "pragma defer_foreign_keys"]
  }
  const writers = {
    "in process": Effect.flatMap(file, (filename) => SqlitePool.make({ filename, drainTimeout: 0 })),
    "in a thread": Effect.flatMap(file, (filename) => SqliteWorkerPool.make({ filename, drainTimeout: 0 }))
  }

  for (const [where, make] of Object.entries(writers)) {
    for (const [what, middle] of Object.entries(middles)) {
      it.effect(`is not forgotten when, meanwhile, ${what}, ${where}`, () =>
        Effect.gen(function*() {
          const { sql, transaction, write } = yield* make
          yield* write((connection) => connection.exec(deferred))
          const all = ["insert into child values (99)", ...middle]
          // Its statements are prepared, and then they are known.
          for (let time = 0; time < 3; time++) {
            const error = yield* failsWith(
              transaction(Effect.forEach(all, (text) => sql.unsafe(text))),
              "TransactionCommitError"
            )
            assert.strictEqual(SqliteConnection.codeOf(error.cause), 787)
            const byHand = write((connection) =>
              Effect.gen(function*() {
                yield* connection.run("begin immediate")
                for (const text of all) yield* connection.query(text)
                yield* connection.run("commit")
              })
            )
            assert.strictEqual(SqliteConnection.codeOf(yield* Effect.flip(byHand)), 787)
          }
          assert.deepStrictEqual(yield* sql`select p from child`, [])
        }))
    }
  }
})
