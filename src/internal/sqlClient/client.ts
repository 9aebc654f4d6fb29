/** A client of `effect/sql` whose statements run on targets, in few steps. */
import { Context, Effect, type Fiber } from "effect"
import type { Reactivity } from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { Acquirer, Borrower, Connection } from "effect/sql/SqlConnection"
import * as Statement from "effect/sql/Statement"
import * as EffectStatement from "./effectStatement.ts"
import type { Connections, Transform } from "./sqlConnection.ts"
import { StatementSpans } from "./statementSpan.ts"
import type { Target, Text, Texts } from "./target.ts"
import { withStatements } from "./withStatements.ts"

type MadeOptions = Pick<
  SqlClient.SqlClient.MakeOptions,
  "compiler" | "reactiveQueue" | "spanAttributes" | "transactionAcquirer" | "transactionService"
>

export interface Options<T extends Text> extends MadeOptions {
  readonly texts: Texts<T>
  /** Those of the targets of this client. */
  readonly connections: Connections<T>
  /** The target of statements outside of transactions. Each statement takes a connection there itself. */
  readonly outside: Target<T>
  /** See `EffectStatement.Options`. */
  readonly placeholder: (position: number) => string
  readonly transformRows: Transform | undefined
}

export const make = Effect.fnUntraced(
  function*<T extends Text>(options: Options<T>): Effect.fn.Return<SqlClient.SqlClient, never, Reactivity> {
    const { compiler, connections, outside, placeholder, spanAttributes, texts, transformRows } = options
    const connection = connections.toConnection(outside)
    const spans = new StatementSpans(spanAttributes)
    const made = yield* SqlClient.make({
      ...options,
      driver: "effect-connection-pool",
      // Only the text of a statement tells which connection it needs.
      acquirer: Effect.succeed(connection)
    })
    const { transactionService } = made
    const sqlConnectionOf = (fiber: Fiber.Fiber<unknown, unknown>): Connection =>
      Context.getOrUndefined(fiber.context, transactionService)?.[0] ?? connection
    const acquirer: Acquirer = Effect.withFiber((fiber) => Effect.succeed(sqlConnectionOf(fiber)))
    const borrower: Borrower = (f) => Effect.withFiber((fiber) => f(sqlConnectionOf(fiber)))
    const constructor = (compiler: Statement.Compiler, transform: Transform | undefined) =>
      EffectStatement.make({
        // These statements find their connection in one step. Those of `made` need six steps.
        original: Statement.make(acquirer, compiler, spanAttributes, transform, borrower),
        targetOf: (fiber) => {
          const held = Context.getOrUndefined(fiber.context, transactionService)
          return held === undefined ? outside : connections.targetOf(held[0])
        },
        texts,
        placeholder,
        transform,
        spans
      })
    return withStatements(
      made,
      constructor(compiler, transformRows),
      transformRows && (() => constructor(compiler.withoutTransform, undefined))
    )
  }
)
