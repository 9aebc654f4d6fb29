/**
 * Writes with many fibers at the same time until it is killed, and says what each was told, after it was told. Of the
 * functions that it runs, some throw half-way. With a writer in a thread, they are transactions.
 */
import { Effect, Stream } from "effect"
import { writeSync } from "node:fs"
import { PoolEvent } from "../../../src/index.ts"
import { SqlitePool, SqliteWorkerPool } from "../../../src/sqlite/index.ts"

const [filename = ".", from = "0", fibers = "50", durability = "full", execution = "in-process"] = process.argv.slice(2)
const synchronous = durability === "full" ? "full" : "normal"

// At once, for what is still in a buffer when it is killed is not said.
const say = (line: string) => Effect.sync(() => writeSync(1, `${line}\n`))

const part = (id: number, number: number) =>
  [`insert into half(id, part, filler) values (?, ${number}, randomblob(300))`, [id]] as const

/** The pool, and what does two statements as one, or throws between them. */
const inProcess = Effect.gen(function*() {
  const pool = yield* SqlitePool.make({ filename, synchronous })
  const body = (id: number, fails: boolean): Effect.Effect<unknown, unknown> =>
    pool.writeSync((connection) => {
      connection.runUnsafe(...part(id, 1))
      if (fails) throw new Error("half-way")
      connection.runUnsafe(...part(id, 2))
    })
  return { pool, body }
})

const inThread = Effect.gen(function*() {
  const pool = yield* SqliteWorkerPool.make({ filename, synchronous })
  const body = (id: number, fails: boolean): Effect.Effect<unknown, unknown> =>
    pool.transaction(Effect.gen(function*() {
      yield* pool.write((connection) => connection.run(...part(id, 1)))
      if (fails) yield* Effect.fail("half-way")
      yield* pool.write((connection) => connection.run(...part(id, 2)))
    }))
  return { pool, body }
})

const all = Effect.scoped(Effect.gen(function*() {
  const { body, pool } = yield* execution === "worker" ? inThread : inProcess
  const { sql } = pool
  yield* Effect.forkScoped(
    Stream.runForEach(
      pool.writer.events,
      (event) => PoolEvent.$is("Grouped")(event) ? say(`g ${event.size}`) : Effect.void
    ),
    { startImmediately: true }
  )
  let next = Number(from)
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
