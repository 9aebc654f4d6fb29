/** Fibers of what goes on beside its callers: of pools, of maps of pools, of connections that callers share. */
import { Context, Effect, type Fiber, Tracer } from "effect"
import type { Within } from "./asyncContext.ts"

/** The services of a context without its span: what was made in that goes on when it is over. */
export const withoutSpan = (context: Context.Context<never>): Context.Context<never> =>
  Context.omit(Tracer.ParentSpan)(context) as Context.Context<never>

/** Returns a function that starts fibers with these services, in the asynchronous context that was captured, whoever asks. */
export const forkWith = (
  context: Context.Context<never>,
  within: Within
): <A, X>(effect: Effect.Effect<A, X>) => Fiber.Fiber<A, X> => {
  const fork = Effect.runForkWith(context)
  return (effect) => within(() => fork(effect))
}
