/** What may surround a statement, or a transaction, and changes its span. */
import { Clock, Context, Effect, Tracer } from "effect"
import * as Statement from "effect/sql/Statement"

type Wrap = (effect: Effect.Effect<unknown, unknown>) => Effect.Effect<unknown, unknown>

const external = (id: string, sampled = true) => Tracer.externalSpan({ spanId: id, traceId: "t", sampled })

/** A clock that is further each time it is asked, so that it counts how often. */
const ticking = (clock: Clock.Clock): Clock.Clock => {
  let now = clock.currentTimeNanosUnsafe()
  return Object.assign(Object.create(clock), { currentTimeNanosUnsafe: () => ++now })
}

/** What may surround a statement. */
export const surroundings: Record<string, Wrap> = {
  span: (effect) => Effect.withSpan(effect, "request", { attributes: { a: 1 } }),
  "span without stack": (effect) => Effect.withSpan(effect, "quick", { captureStackTrace: false }),
  "root span": (effect) => Effect.withSpan(effect, "root", { root: true }),
  "span of low level": (effect) => Effect.withSpan(effect, "detail", { level: "Debug" }),
  "span that is not sampled": (effect) => Effect.withSpan(effect, "unsampled", { sampled: false }),
  "span that is not passed on": (effect) =>
    Effect.withSpan(effect, "private", { annotations: Context.make(Tracer.DisablePropagation, true) }),
  "span of another kind": (effect) =>
    Effect.withSpan(effect, "server", { kind: "server", links: [{ span: external("l"), attributes: {} }] }),
  parent: Effect.withParentSpan(external("p")),
  "parent that is not sampled": Effect.withParentSpan(external("q", false)),
  "parent, provided": (effect) => Effect.provideService(effect, Tracer.ParentSpan, external("r")),
  annotations: Effect.annotateSpans({ "db.namespace": "annotated", tenant: 7 }),
  "one annotation": (effect) => Effect.annotateSpans(effect, "effect.sql.method", "annotated"),
  links: Effect.linkSpans([external("a"), external("b")], { why: "batch" }),
  "minimum level": (effect) => Effect.provideService(effect, Tracer.MinimumTraceLevel, "Warn"),
  "level of spans": (effect) => Effect.provideService(effect, Tracer.CurrentTraceLevel, "Error"),
  "no tracing": Effect.withTracerEnabled(false),
  tracing: Effect.withTracerEnabled(true),
  "no times": Effect.withTracerTiming(false),
  "ticking clock": (effect) => Clock.clockWith((clock) => Effect.provideService(effect, Clock.Clock, ticking(clock))),
  propagation: (effect) => Effect.provideService(effect, Statement.SpanPropagationEnabled, true),
  transformer: (effect) =>
    Effect.provideService(effect, Statement.CurrentTransformer, (statement, sql, _, span) => {
      span.attribute("transformed", true)
      return Effect.succeed(sql`${statement} /* transformed */`)
    }),
  uninterruptible: Effect.uninterruptible,
  interruptible: Effect.interruptible,
  recovery: (effect) => Effect.catch(effect, () => Effect.succeed("recovered")),
  finalizer: Effect.ensuring(Effect.annotateCurrentSpan("finalized", true)),
  "another before": (effect) => Effect.andThen(Effect.void, effect),
  "deadline of half a second": Effect.timeoutOption("500 millis")
}
