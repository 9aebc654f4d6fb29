/** Writers that are committed together, in processes that are killed, and beside other processes. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { DatabaseSync } from "node:sqlite"
import * as Process from "../support/childProcess.ts"
import { file, judge } from "../support/files.ts"

/** The ids behind a letter, of all lines that were written as a whole. */
const idsOf = (printed: string, letter: string): ReadonlyArray<number> =>
  printed.slice(0, printed.lastIndexOf("\n") + 1).split("\n")
    .filter((line) => line.startsWith(`${letter} `))
    .map((line) => Number(line.slice(2)))

const column = (other: DatabaseSync, sql: string): ReadonlyArray<number> =>
  other.prepare(sql).all().map((row) => Object.values(row)[0] as number)

/** Numbers from a seed. */
const randomFrom = (seed: number) => () => {
  seed = (seed * 1103515245 + 12345) % 2147483648
  return seed / 2147483648
}

const kills = Number(process.env["KILLS"] ?? 6)
const seed = Number(process.env["SEED"] ?? 7)

/** Of a test with other processes: against one that hangs, not one on a machine that is busy. */
const timeout = kills * 20_000 + 180_000

describe("a process that is killed while many fibers write", () => {
  for (
    const [synchronous, execution] of [["full", "in-process"], ["normal", "in-process"], ["full", "worker"]] as const
  ) {
    it.live(
      `has stored all that anybody was told, each once, and nothing by half: synchronous ${synchronous}, ${execution}`,
      () =>
        Effect.gen(function*() {
          const filename = yield* file
          // No key: what was written twice would be there twice.
          const other = yield* judge(
            filename,
            "pragma journal_mode = wal; create table whole(id, filler); create table half(id, part, filler)"
          )
          const random = randomFrom(seed)
          const told = { s: new Set<number>(), b: new Set<number>() }
          const sizes: Array<number> = []
          let from = 0
          for (let kill = 0; kill < kills; kill++) {
            const fibers = kill % 2 === 0 ? 100 : 50
            const writer = yield* Process.run(
              "groupWriter",
              filename,
              String(from),
              String(fibers),
              synchronous,
              execution
            )
            // After so many answers; it goes on while this is heard.
            const answers = Math.floor(random() * 600)
            const where = `seed ${seed}, kill ${kill} after ${answers} answers`
            yield* Effect.repeat(Effect.sleep(1), { while: () => writer.printed().split("\n").length <= answers })
            yield* writer.kill
            const printed = writer.printed()
            assert.isAtLeast(printed.split("\n").length, answers, where)
            for (const letter of ["s", "b"] as const) for (const id of idsOf(printed, letter)) told[letter].add(id)
            const failed = idsOf(printed, "f")
            sizes.push(...idsOf(printed, "g"))
            assert.deepStrictEqual(column(other, "pragma integrity_check"), ["ok" as never], where)
            const whole = column(other, "select id from whole")
            const halves = column(other, "select id from half group by id having count(*) <> 2 or sum(part) <> 3")
            assert.deepStrictEqual(halves, [], where)
            const bodies = column(other, "select id from half where part = 1")
            assert.strictEqual(new Set(whole).size, whole.length, where)
            assert.strictEqual(new Set(bodies).size, bodies.length, where)
            assert.deepStrictEqual([...told.s].filter((id) => !whole.includes(id)), [], where)
            assert.deepStrictEqual([...told.b].filter((id) => !bodies.includes(id)), [], where)
            // What failed is not there, and what was not told is at most one for each fiber.
            assert.deepStrictEqual(failed.filter((id) => bodies.includes(id)), [], where)
            assert.isTrue(bodies.every((id) => id % 4 === 0) && whole.every((id) => id % 4 > 1), where)
            const untold = whole.length + bodies.length - told.s.size - told.b.size
            assert.isAtMost(untold, fibers, where)
            for (const id of whole) told.s.add(id)
            for (const id of bodies) told.b.add(id)
            from = Math.max(from, ...whole, ...bodies, ...failed) + 1
            // Whoever it was held no lock beyond its end.
            other.exec("begin immediate; rollback")
          }
          assert.isAbove(told.s.size + told.b.size, 20 * kills)
          // A thread ends a group after some milliseconds. Between the statements are transactions, which are in none.
          assert.isAbove(Math.max(...sizes), execution === "worker" ? 1 : 30, "no large groups")
        }),
      timeout
    )
  }
})

describe("several processes in which many fibers write", () => {
  it.live("lose nothing", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* judge(
        filename,
        "pragma journal_mode = wal; create table counter(n); insert into counter values (0)"
      )
      const counters = yield* Effect.forEach(
        Array.from({ length: 3 }),
        () => Process.run("groupCounter", filename, "50", "20"),
        { concurrency: "unbounded" }
      )
      yield* Effect.forEach(counters, (counter) => counter.says("open"), { concurrency: "unbounded" })
      yield* Effect.forEach(counters, (counter) => counter.sign)
      yield* Effect.forEach(counters, (counter) => counter.ended, { concurrency: "unbounded" })
      for (const counter of counters) assert.include(counter.printed(), "told 1000 0")
      assert.deepStrictEqual(column(other, "select n from counter"), [3000])
    }), timeout)

  it.live(
    "are told of a lock that lasts longer than busyTimeout, and have not written what they are told of",
    () =>
      Effect.gen(function*() {
        const filename = yield* file
        const other = yield* judge(
          filename,
          "pragma journal_mode = wal; create table counter(n); insert into counter values (0)"
        )
        const counters = yield* Effect.forEach(
          Array.from({ length: 2 }),
          () => Process.run("groupCounter", filename, "20", "30", "5"),
          { concurrency: "unbounded" }
        )
        yield* Effect.forEach(counters, (counter) => counter.says("open"), { concurrency: "unbounded" })
        other.exec("begin immediate")
        yield* Effect.forEach(counters, (counter) => counter.sign)
        // The lock is there until both have met it for too long.
        yield* Effect.forEach(counters, (counter) => counter.says("late"), { concurrency: "unbounded" })
        other.exec("commit")
        yield* Effect.forEach(counters, (counter) => counter.ended, { concurrency: "unbounded" })
        const told = counters.map((counter) => /told (\d+) (\d+)/.exec(counter.printed())!.slice(1).map(Number))
        for (const [done, late] of told) {
          assert.strictEqual(done! + late!, 600)
          assert.isAbove(late!, 0)
        }
        assert.deepStrictEqual(column(other, "select n from counter"), [told[0]![0]! + told[1]![0]!])
      }),
    timeout
  )
})
