/** A database whose writers go on together, and what can be seen of that. */
import { assert } from "@effect/vitest"
import { Effect, Fiber, Latch, Stream } from "effect"
import { PoolEvent } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { readFileSync } from "node:fs"
import { StatementSync } from "node:sqlite"
import { file, judge } from "./files.ts"
import { excepted, mode } from "./modes/mode.ts"
import { settle } from "./pools.ts"

export const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, ...options })
  yield* pool.write((connection) => connection.exec("create table t(n integer unique on conflict abort)"))
  const other = yield* judge(filename)
  const groups: Array<Group> = []
  yield* Effect.forkScoped(
    Stream.runForEach(pool.writer.events, (event) =>
      Effect.sync(() => {
        if (PoolEvent.$is("Grouped")(event)) groups.push({ size: event.size, undoneBecause: event.undoneBecause })
      })),
    { startImmediately: true }
  )
  return {
    filename,
    pool,
    sql: pool.sql,
    other,
    /** The groups so far. */
    groups: Effect.as(settle, groups),
    /** What is in the table for all to see, in the order in which it was written. */
    get rows(): ReadonlyArray<unknown> {
      return other.prepare("select n from t order by rowid").all().map((row) => row["n"])
    },
    /** The commits in the log since it was begun. */
    get commits(): number {
      return commitsIn(`${filename}-wal`)
    }
  }
})

export type Database = Effect.Success<ReturnType<typeof make>>

export const insert = ({ sql }: Database, n: number) => sql`insert into t values (${n})`

export interface Group {
  readonly size: number
  readonly undoneBecause: string | undefined
}

/**
 * Asserts what the groups were. A thread ends a group after some milliseconds, and runs the rest in the next one. So only the
 * reasons are known there, and how many callers share a commit at most: `workerGroupSizes` asserts the sizes, with a clock.
 */
export const assertGroups = (groups: ReadonlyArray<Group>, expected: ReadonlyArray<Group>): void => {
  if (mode !== "writer") return assert.deepStrictEqual(groups, expected)
  const known = reasons(expected)
  for (const reason of reasons(groups)) assert.isTrue(known.has(reason), reason)
  assert.isAtMost(callers(groups.filter(({ undoneBecause }) => undoneBecause === undefined)), callers(expected))
}

const reasons = (groups: ReadonlyArray<Group>) => new Set(groups.flatMap(({ undoneBecause }) => undoneBecause ?? []))

const callers = (groups: ReadonlyArray<Group>) => groups.reduce((sum, { size }) => sum + size, 0)

/** Whether groups are those of a thread, whose sizes depend on the time that its statements take. */
export const areTimed = mode === "writer"

/**
 * The work of a caller that stores a number with a function, or with a statement where the writer is in a thread, which runs
 * no functions.
 */
export const body = (db: Database, n: number, before = () => {}): Effect.Effect<unknown, unknown> =>
  mode === "writer" ? insert(db, n) : db.pool.writeSync((connection) => {
    before()
    return connection.runUnsafe("insert into t values (?)", [n])
  })

/** Lets all effects join the line behind a lease, then ends the lease. Gives how each has ended, in order. */
export const together = <A, E>({ pool }: Database, effects: ReadonlyArray<Effect.Effect<A, E>>) =>
  Effect.gen(function*() {
    const gate = yield* Latch.make()
    const holder = yield* Effect.forkChild(pool.write(() => gate.await), { startImmediately: true })
    const fibers: Array<Fiber.Fiber<A, E>> = []
    for (const effect of effects) fibers.push(yield* Effect.forkChild(effect, { startImmediately: true }))
    yield* gate.open
    yield* Fiber.join(holder)
    return yield* Effect.forEach(fibers, Fiber.await)
  })

/**
 * Has a statement fail once, with a code of SQLite, for the current scope. `get` runs the statements of the library's own,
 * `all` those of `sql`.
 */
export const failing = (statement: string, errcode: number, before = () => {}, method: "get" | "all" = "get") =>
  Effect.acquireRelease(
    Effect.sync(() => {
      if (mode === "writer") excepted("SQLite that fails in this thread")
      const real = StatementSync.prototype[method]
      let isDone = false
      StatementSync.prototype[method] = function(...args: ReadonlyArray<unknown>) {
        if (!isDone && this.sourceSQL === statement) {
          isDone = true
          before()
          throw Object.assign(new Error(`code ${errcode}`), { code: "ERR_SQLITE_ERROR", errcode })
        }
        return Reflect.apply(real, this, args)
      }
      return real
    }),
    (real) =>
      Effect.sync(() => {
        Object.assign(StatementSync.prototype, { [method]: real })
      })
  )

/** Counts the frames that end a commit: https://sqlite.org/fileformat2.html#the_write_ahead_log. */
const commitsIn = (path: string): number => {
  const log = readFileSync(path)
  if (log.length === 0) return 0
  const frame = 24 + log.readUInt32BE(8)
  let commits = 0
  for (let at = 32; at + frame <= log.length; at += frame) {
    const isOfThisLog = log.subarray(at + 8, at + 16).equals(log.subarray(16, 24))
    if (isOfThisLog && log.readUInt32BE(at + 4) !== 0) commits++
  }
  return commits
}
