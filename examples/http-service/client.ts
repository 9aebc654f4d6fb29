/** What the programs that ask the service have in common: their flags, and how they end. */
import { Console, Effect, Schema } from "effect"
import { Flag } from "effect/cli"
import { HttpClient } from "effect/http"

export const positive = (name: string, description: string, value: number) =>
  Flag.Int(name).pipe(
    Flag.withDescription(`${description} (default ${value})`),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
    Flag.withDefault(value)
  )

export const url = Flag.String("url").pipe(
  Flag.withDescription("Where the service is"),
  Flag.withDefault("http://localhost:3000")
)

/** Fails with what to do if no service answers there. */
export const reach = Effect.fnUntraced(function*(url: string) {
  const http = yield* HttpClient.HttpClient
  yield* Effect.mapError(
    Effect.scoped(http.get(`${url}/health`)),
    (cause) =>
      new Error(`no service answers at ${url}: start it first, with npm run example -- http-service`, { cause })
  )
})

/** Says what holds, and fails unless all of it does. */
export const judge = Effect.fnUntraced(function*(verdict: Readonly<Record<string, boolean>>) {
  for (const [claim, holds] of Object.entries(verdict)) yield* Console.log(`${holds ? "✓" : "✗"} ${claim}`)
  if (!Object.values(verdict).every((holds) => holds)) return yield* Effect.fail(new Error("the verdict is not true"))
})
