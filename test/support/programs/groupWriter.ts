/**
 * Writes with many fibers at the same time until it is killed, and says what each was told, after it was told. Of the
 * functions that it runs, some throw half-way.
 */
import { Effect, Stream } from "effect"
import { writeSync } from "node:fs"
import { PoolEvent } from "../../../src/index.ts"
import { SqlitePool } from "../../../src/sqlite/index.ts"

const [filename = ".", from = "0", fibers = "50", synchronous = "full"] = process.argv.slice(2)

// At once, for what is still in a buffer when it is killed is not said.
const say = (line: string) => Effect.sync(() => writeSync(1, `${line}\n`))

const all = Effect.scoped(Effect.gen(function*() {
  const pool = yield* SqlitePool.make({ filename, synchronous: synchronous === "full" ? "full" : "normal" })
  const { sql } = pool
  yield* Effect.forkScoped(
    Stream.runForEach(
      pool.writer.events,
      (event) => PoolEvent.$is("Grouped")(event) ? say(`g ${event.size}`) : Effect.void
    ),
    { startImmediately: true }
  )
  let next = Number(from)
  const body = (id: number, fails: boolean) =>
    pool.writeSync((connection) => {
      connection.runUnsafe("insert into half(id, part, filler) values (?, 1, randomblob(300))", [id])
      if (fails) throw new Error("half-way")
      connection.runUnsafe("insert into half(id, part, filler) values (?, 2, randomblob(300))", [id])
    })
  const one = (id: number): Effect.Effect<unknown, unknown> => {
    switch (id % 4) {
      case 0:
        return Effect.andThen(body(id, false), say(`b ${id}`))
      case 1:
        return Effect.andThen(Effect.exit(body(id, true)), say(`f ${id}`))
      default:
        return Effect.andThen(sql`insert into whole(id, filler) values (${id}, randomblob(300))`, say(`s ${id}`))
    }
  }
  const forever = Effect.gen(function*() {
    for (;;) yield* one(next++)
  })
  yield* Effect.all(Array.from({ length: Number(fibers) }, () => forever), { concurrency: "unbounded" })
}))

await Effect.runPromise(all)
