/** Tracers that keep what they are told. */
import { Cause, Context, Exit, Option, Tracer } from "effect"

/** A tracer that keeps every span. */
export const tracing = () => {
  const spans: Array<Tracer.Span> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { spans, tracer }
}

/** Something that a tracer is told, at which a recorder throws. */
export interface Fault {
  readonly method: "span" | "attribute" | "event" | "end"
  /** The span at which it does so, in order of their making. */
  readonly span: number
}

/**
 * A tracer that records each call, in order. Spans have numbers instead of ids, times count from `from`, and `toldValue` and
 * `toldError` say what of a result counts.
 */
export class Recorder {
  readonly calls: Array<ReadonlyArray<unknown>> = []
  readonly tracer: Tracer.Tracer
  readonly #numbers = new Map<Tracer.AnySpan, number>()
  readonly #told: { readonly value: (value: unknown) => unknown; readonly error: (error: unknown) => unknown }

  readonly #ignores: (name: string) => boolean

  constructor(
    told: { readonly value: (value: unknown) => unknown; readonly error: (error: unknown) => unknown },
    { context, fault, from = 0n, ignores = () => false }: {
      readonly fault?: Fault | undefined
      readonly from?: bigint
      readonly context?: Tracer.Tracer["context"]
      /** Whether spans of that name are not recorded. */
      readonly ignores?: (name: string) => boolean
    } = {}
  ) {
    this.#told = told
    this.#ignores = ignores
    const failAt = (method: Fault["method"], span: number) => {
      if (fault?.method === method && fault.span === span) throw new Error(`no ${method}`)
    }
    const record = (...call: ReadonlyArray<unknown>) => void this.calls.push(call)
    const { exit, nameOf } = this
    let made = 0
    class Recorded extends Tracer.NativeSpan {
      readonly number = made++

      override attribute(key: string, value: unknown): void {
        record(this.number, "attribute", key, value)
        failAt("attribute", this.number)
        super.attribute(key, value)
      }

      override event(name: string, time: bigint, attributes?: Record<string, unknown>): void {
        record(this.number, "event", name, time - from, attributes)
        failAt("event", this.number)
        super.event(name, time, attributes)
      }

      override addLinks(links: ReadonlyArray<Tracer.SpanLink>): void {
        record(this.number, "addLinks", links.map(({ attributes, span }) => [nameOf(span), attributes]))
        super.addLinks(links)
      }

      override end(time: bigint, ended: Exit.Exit<unknown, unknown>): void {
        record(this.number, "end", time === 0n ? "untimed" : time - from, exit(ended))
        failAt("end", this.number)
        super.end(time, ended)
      }
    }
    this.tracer = Tracer.make({
      span: (options) => {
        const { annotations, kind, links, name, parent, root, sampled, startTime } = options
        if (ignores(name)) return new Tracer.NativeSpan(options)
        record(
          "span",
          made,
          { kind, name, root, sampled },
          Option.getOrUndefined(Option.map(parent, nameOf)),
          links.map(({ attributes, span }) => [nameOf(span), attributes]),
          [...annotations.mapUnsafe.keys()],
          startTime === 0n ? "untimed" : startTime - from
        )
        failAt("span", made)
        const span = new Recorded(options)
        this.#numbers.set(span, span.number)
        return span
      },
      ...(context === undefined ? undefined : { context })
    })
  }

  /** How a span is called where another refers to it. */
  readonly nameOf = (span: Tracer.AnySpan): string | number =>
    this.#numbers.get(span) ??
      (span._tag === "ExternalSpan" ? `external ${span.spanId}` : `made for nobody: ${span.name}`)

  readonly exit = (exit: Exit.Exit<unknown, unknown>): unknown =>
    Exit.isSuccess(exit) ? this.#told.value(exit.value) : exit.cause.reasons.map((reason) => [
      reason._tag,
      Cause.isFailReason(reason)
        ? this.#told.error(reason.error)
        : Cause.isDieReason(reason)
        ? this.#told.error(reason.defect)
        : undefined,
      framesOf(Context.getOrUndefined(Cause.reasonAnnotations(reason), Cause.StackTrace))
        .filter((name) => !this.#ignores(name))
    ])
}

/** The names of the spans that a cause was annotated with, the innermost first. */
const framesOf = (frame: Cause.StackTrace["Service"] | undefined): ReadonlyArray<string> =>
  frame === undefined ? [] : [frame.name, ...framesOf(frame.parent)]
