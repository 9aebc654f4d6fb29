/** Runs programs of writers on a pool, each caller in a fiber of its own. */
import { Cause, Effect, Exit, Fiber, Latch } from "effect"
import { SqliteConnection, type SqlitePool } from "effect-connection-pool/sqlite"
import type * as SqlClient from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import { type Answer, defect, runSteps, withoutCode } from "./oracle.ts"
import type { Caller, Operation, Program, Wave } from "./programs.ts"

export interface Target {
  readonly pool: SqlitePool.SqlitePool
  readonly sql: SqlClient.SqlClient
}

type Body = Extract<Operation, { readonly ends: unknown }>

const leave = (ends: Body["ends"]): void => {
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
    case "body":
      return pool.writeSync((connection) => {
        const results = runSteps(
          operation.steps,
          (text) => connection.valuesUnsafe(text),
          (thrown) => SqliteConnection.codeOf(thrown)
        )
        leave(operation.ends)
        return results
      }, fate === "late" ? within : undefined)
    case "transaction":
      return pool.transaction(stepsOf(operation, (text) => sql.unsafe(text).values), { foreignKeys: operation.keys })
    case "lease":
      return pool.write((connection) =>
        Effect.gen(function*() {
          yield* connection.exec("begin immediate")
          const results = yield* stepsOf(operation, (text) =>
            Effect.flatMap(
              connection.isTransaction,
              (isOpen): Effect.Effect<unknown, unknown> => isOpen ? connection.values(text) : Effect.fail("ended")
            ))
          yield* connection.exec("commit")
          return results
        })
      )
  }
}

/** The steps of a body as an effect, in which others have their turns. */
const stepsOf = (
  { ends, steps }: Body,
  run: (sql: string) => Effect.Effect<unknown, unknown>
): Effect.Effect<unknown, unknown> =>
  Effect.gen(function*() {
    const results: Array<unknown> = []
    for (const { isCaught, sql } of steps) {
      yield* Effect.yieldNow
      const result = run(sql)
      results.push(
        yield* isCaught
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

const runWave = (target: Target, { callers, isHeld }: Wave) =>
  Effect.gen(function*() {
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
      return kind === "transaction" || kind === "lease" ? withoutCode(answer) : answer
    })
  })

/** The answers of all callers, in the order in which they asked. */
export const run = (target: Target, program: Program) =>
  Effect.forEach(program.waves, (wave) => Effect.orDie(runWave(target, wave)))
