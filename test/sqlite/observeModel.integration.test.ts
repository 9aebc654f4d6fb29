/**
 * Random writes of ten fibers and of another process, while queries are observed in several ways.
 *
 * The table `part` has a row for each writer with the number of its commits, and `total` has the sum of all. A writer may
 * write anything before it rolls back. So every result can be judged: the parts and the total of one state agree, no
 * number is one that was rolled back, and no number becomes smaller. In each pause of the fibers, every observation shows the
 * last state.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Random, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import * as Process from "../support/childProcess.ts"
import { file } from "../support/files.ts"
import { mode } from "../support/modes/mode.ts"

const writers = 10

interface State {
  readonly parts: ReadonlyArray<number>
  readonly total: number
}

/** Judges the results of one observation, one after the other. */
class Judge {
  readonly name: string
  last: State | undefined = undefined
  results = 0

  constructor(name: string) {
    this.name = name
  }

  judge(state: State): void {
    this.results++
    for (const [index, part] of state.parts.entries()) {
      assert.isAtLeast(part, this.last?.parts[index] ?? 0, `${this.name}: went back, or was rolled back`)
    }
    assert.strictEqual(state.parts.reduce((sum, part) => sum + part, 0), state.total, `${this.name}: two states in one`)
    this.last = state
  }
}

const toState = (row: unknown): State => {
  const { parts, version } = row as { readonly parts: string; readonly version: number }
  return { parts: JSON.parse(parts) as Array<number>, total: version }
}

const bump = (writer: number, by: number, of: number) =>
  [
    ["update part set version = version + ? where writer = ?", [by, `writer ${writer}`]],
    ["update total set version = version + ?", [of]]
  ] as const

/** More for a longer look: `MODEL_RUNS=1000 npm test -- test/sqlite/observeModel`. */
const rounds = Number(process.env["MODEL_RUNS"] ?? 20)
const timeout = rounds * 5000 + 300_000

describe("observations", () => {
  it.live("show committed states only, in order, and the last one, whoever writes", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pool = yield* SqlitePool.make({
        filename,
        readers: 4,
        observeInterval: "5 millis",
        maxReadAge: "Infinity",
        acquireTimeout: "1 minute"
      })
      const { sql, transaction, write, writeSync } = pool
      yield* write((connection) =>
        connection.exec(`create table part(writer primary key, version integer not null) without rowid;
          create table total(version integer not null); insert into total values (0);
          create view state as select (select json_group_array(version order by writer) from part) as parts, version from total;
          create table noise(a)`)
      )
      for (let writer = 0; writer < writers; writer++) yield* sql`insert into part values (${`writer ${writer}`}, 0)`
      yield* sql`insert into part values ('other', 0)`

      const judges = Array.from({ length: 9 }, (_, index) => new Judge(`observation ${index}`))
      const bare = pool.observe("select parts, version from state")
      const ofStatement = Stream.map(bare, ([row]) => toState(row))
      // Two statements, with a pause between them: only a snapshot makes them agree.
      const ofEffect = (pause: Effect.Effect<unknown>) =>
        pool.observe(
          Effect.gen(function*() {
            const parts = yield* sql<{ version: number }>`select version from part order by writer`
            yield* pause
            const [total] = yield* pool.read((reader) => reader.query("select version from total"))
            return { parts: parts.map(({ version }) => version), total: Number(total!["version"]) }
          }),
          { distinct: true }
        )
      for (const [index, judge] of judges.entries()) {
        const stream: Stream.Stream<State, unknown> = index % 3 === 0 ? ofStatement : ofEffect(
          index % 3 === 1 ? Effect.yieldNow : Effect.sleep("2 millis")
        )
        // Some readers are slow.
        const slow = index >= 6 ? Effect.sleep("7 millis") : Effect.void
        yield* Effect.forkScoped(
          Stream.runForEach(stream, (state) => Effect.andThen(Effect.sync(() => judge.judge(state)), slow))
        )
      }

      const commits = Array.from({ length: writers }, () => 0)

      const rolledBack = Effect.fail("rolled back" as const)
      const bumped = (writer: number, by: number) =>
        Effect.forEach(bump(writer, by, by), ([text, params]) => sql.unsafe(text, [...params]))

      /** In one step, where there is one. */
      const inOneStep = (
        statements: ReadonlyArray<readonly [sql: string, params?: ReadonlyArray<string | number>]>
      ): Effect.Effect<unknown, unknown> =>
        mode === "writer"
          ? transaction(Effect.forEach(statements, ([text, params = []]) => sql.unsafe(text, [...params])))
          : writeSync((connection) => {
            for (const [text, params] of statements) connection.runUnsafe(text, params)
          })

      const once = Effect.fnUntraced(function*(writer: number, isAlone: boolean) {
        const way = yield* Random.nextIntBetween(0, isAlone ? 7 : 8)
        switch (way) {
          case 0:
            return yield* transaction(bumped(writer, 1)).pipe(Effect.as(true))
          case 1:
            return yield* Effect.as(Effect.ignore(transaction(Effect.andThen(bumped(writer, -500), rolledBack))), false)
          case 2:
            return yield* Effect.as(inOneStep(bump(writer, 1, 1)), true)
          case 3:
            return yield* inOneStep([...bump(writer, -500, -500), ["insert into nothing values (1)"]]).pipe(
              Effect.ignore,
              Effect.as(false)
            )
          case 4:
            return yield* Effect.as(
              transaction(Effect.andThen(
                Effect.ignore(transaction(Effect.andThen(bumped(writer, -500), rolledBack))),
                transaction(bumped(writer, 1))
              )),
              true
            )
          case 5:
            return yield* write((connection) =>
              Effect.gen(function*() {
                yield* connection.exec("begin immediate")
                for (const [text, params] of bump(writer, 1, 1)) yield* connection.run(text, params)
                yield* Effect.yieldNow
                yield* connection.exec("commit")
                return true
              })
            )
          case 6:
            return yield* Effect.as(sql`insert into noise values (1)`, false)
          default:
            return yield* Effect.as(pool.writer.recycle, false)
        }
      })
      /** Waits until all observations show all that the fibers have committed. */
      const shown = Effect.forEach(judges, (judge) =>
        Effect.gen(function*() {
          const isShown = () => commits.every((count, writer) => judge.last?.parts[writer + 1] === count)
          yield* Effect.repeat(Effect.sleep("1 millis"), { until: isShown, times: 30_000 })
          assert.deepStrictEqual(judge.last?.parts.slice(1), commits, judge.name)
        }))
      const phase = (isAlone: boolean) =>
        Effect.andThen(
          Effect.forEach(commits, (_, writer) =>
            Effect.gen(function*() {
              for (let round = yield* Random.nextIntBetween(0, 4); round >= 0; round--) {
                if (yield* once(writer, isAlone)) commits[writer]!++
                yield* Effect.sleep(yield* Random.nextIntBetween(0, 3))
              }
            }), { concurrency: "unbounded" }),
          shown
        )
      // A commit of another process, or a new connection, would have all queries run again, and hide one that was missed.
      yield* Effect.repeat(phase(true), { times: rounds })
      const other = yield* Process.run("observedWriter", filename, "7")
      yield* other.says("ready")
      yield* Effect.repeat(phase(false), { times: rounds })
      yield* other.sign
      yield* other.says("done")
      yield* other.ended
      const done = Number(/done (\d+)/.exec(other.printed())![1])
      const expected = { parts: [done, ...commits], total: commits.reduce((sum, count) => sum + count, done) }
      for (const judge of judges) {
        yield* Effect.repeat(Effect.sleep("5 millis"), {
          until: () => judge.last?.total === expected.total,
          times: 400
        })
        assert.deepStrictEqual(judge.last, expected, judge.name)
        assert.isAbove(judge.results, rounds, judge.name)
      }
      assert.isAbove(done, 5)
    }).pipe(Effect.scoped, Random.withSeed("observe")), timeout)
})
