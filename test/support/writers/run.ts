/** Runs programs of writers on a pool, each caller in a fiber of its own. */
import { Cause, Effect, Exit, Fiber, Latch, Stream } from "effect"
import { SqliteConnection, type SqlitePool } from "effect-connection-pool/sqlite"
import type * as SqlClient from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import { type Answer, defect, runSteps, withoutCode } from "./oracle.ts"
import type { Caller, Ends, Inner, Operation, Program, Step, Wave } from "./programs.ts"

export interface Target {
  readonly pool: SqlitePool.SqlitePool
  readonly sql: SqlClient.SqlClient
  /** Changes the schema, as another process would, if it can. */
  readonly outside: (sql: string) => Effect.Effect<void>
}

type Body = Extract<Operation, { readonly ends: unknown }>

const leave = (ends: Ends): void => {
  if (ends === "throws") throw defect
  if (ends === "throws nothing") throw undefined
}

const within = { timeout: "1 second" } as const

const effectOf = ({ pool, sql }: Target, { fate, operation }: Caller): Effect.Effect<unknown, unknown> => {
  switch (operation.kind) {
    case "statement":
      return sql.unsafe(operation.sql).values
    case "read":
      return Effect.as(sql`select count(*), sum(n) from t`.values, "a read")
    case "stream":
      return first(sql.unsafe<object>(operation.sql).stream)
    case "batch": {
      const batch = pool.batch(operation.all.map((text) => [text] as const), { foreignKeys: operation.keys })
      return Effect.as(Stream.runDrain(batch), "a batch")
    }
    case "body":
      return pool.writeSync((connection) => stepsSync(operation, connection), fate === "late" ? within : undefined)
    case "transaction":
      return pool.transaction(inTransaction({ pool, sql }, operation), { foreignKeys: operation.keys })
    case "lease":
      return pool.write((connection) =>
        Effect.gen(function*() {
          for (const text of operation.settings ?? []) yield* connection.values(text)
          yield* connection.exec("begin immediate")
          const results = yield* stepsOf(operation, ({ sql: text, way }) =>
            Effect.flatMap(connection.isTransaction, (isOpen): Effect.Effect<unknown, unknown> => {
              if (!isOpen) {
                return Effect.fail("ended")
              }
              if (way === "script") {
                return Effect.as(connection.exec(text), "a script")
              }
              return way === "first" ? first(connection.stream(text)) : connection.values(text)
            }))
          yield* connection.exec("commit")
          return results
        })
      )
  }
}

/** The first row, as an array. What comes after it is left. */
const first = <E>(rows: Stream.Stream<object, E>): Effect.Effect<unknown, E> =>
  Effect.map(Stream.runCollect(Stream.take(rows, 1)), (taken) => taken.map((row) => Object.values(row)))

const stepsSync = ({ ends, steps }: Body | Inner, connection: SqliteConnection.SqliteConnection): unknown => {
  const results = runSteps(
    steps,
    ({ sql, way }) => {
      if (way !== "script") {
        return way === "first"
          ? connection.valuesUnsafe(sql).slice(0, 1)
          : connection.valuesUnsafe(sql)
      }
      connection.execUnsafe(sql)
      return "a script"
    },
    (thrown) => SqliteConnection.codeOf(thrown)
  )
  leave(ends)
  return results
}

const inTransaction = (target: Pick<Target, "pool" | "sql">, body: Body | Inner): Effect.Effect<unknown, unknown> => {
  const { pool, sql } = target
  return stepsOf(body, ({ inner, sql: text, way }) => {
    if (inner?.how === "transaction") return pool.transaction(inTransaction(target, inner))
    if (inner?.how === "writeSync") return pool.writeSync((connection) => stepsSync(inner, connection))
    if (way === "script") return Effect.as(pool.write((connection) => connection.exec(text)), "a script")
    return way === "first" ? first(sql.unsafe<object>(text).stream) : sql.unsafe(text).values
  })
}

/** The steps of a body as an effect, in which others have their turns. */
const stepsOf = (
  { ends, steps }: Body | Inner,
  run: (step: Step) => Effect.Effect<unknown, unknown>
): Effect.Effect<unknown, unknown> =>
  Effect.gen(function*() {
    const results: Array<unknown> = []
    for (const step of steps) {
      yield* Effect.yieldNow
      const result = run(step)
      results.push(
        yield* step.isCaught
          ? Effect.catch(result, (error) => Effect.succeed({ caught: SqliteConnection.codeOf(error) }))
          : result
      )
    }
    yield* Effect.sync(() => leave(ends))
    return results
  })

const answerOf = (exit: Exit.Exit<unknown, unknown>): Answer => {
  if (Exit.isSuccess(exit)) return { told: "rows", rows: exit.value }
  if (Cause.hasInterrupts(exit.cause)) return { told: "interrupted" }
  const [reason] = exit.cause.reasons
  if (reason?._tag !== "Fail") return { told: "defect", defect: reason?._tag === "Die" ? reason.defect : reason }
  const error = reason.error as { readonly _tag?: string }
  if (error._tag === "AcquireTimeoutError") return { told: "too late" }
  return { told: "failure", code: SqliteConnection.codeOf(error) }
}

const runWave = (target: Target, { callers, isHeld, outside }: Wave) =>
  Effect.gen(function*() {
    if (outside !== undefined) yield* target.outside(outside)
    const gate = yield* Latch.make()
    const holder = isHeld
      ? yield* Effect.forkChild(target.pool.write(() => gate.await), { startImmediately: true })
      : undefined
    const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
    for (const caller of callers) {
      fibers.push(yield* Effect.forkChild(effectOf(target, caller), { startImmediately: true }))
    }
    if (isHeld) {
      for (const [index, { fate }] of callers.entries()) {
        if (fate === "interrupted") yield* Fiber.interrupt(fibers[index]!)
      }
      // Those who have less time are too late now.
      yield* TestClock.adjust("2 seconds")
      yield* gate.open
      yield* Fiber.join(holder!)
    }
    const exits = yield* Effect.forEach(fibers, Fiber.await)
    return exits.map((exit, index) => {
      const { kind } = callers[index]!.operation
      const answer = answerOf(exit)
      return kind === "transaction" || kind === "lease" || kind === "batch" ? withoutCode(answer) : answer
    })
  })

/** The answers of all callers, in the order in which they asked. */
export const run = (target: Target, program: Program) =>
  Effect.forEach(program.waves, (wave) => Effect.orDie(runWave(target, wave)))
