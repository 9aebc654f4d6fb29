/** Who holds a connection, or has abandoned it: as data, and as text in messages. */
import { Schema } from "effect"
import { cut, inOneLine, labelText } from "./structures/statementText.ts"

/** The statement that a holder runs, or has run last. */
export const HolderStatement = Schema.Struct({
  /**
   * The text in one line, without the parameters, at most 1000 characters of it. A list of placeholders is folded:
   * `in (?, ?, ?)` is `in (?, ...)`.
   */
  text: Schema.String,
  /** Whether it runs now. If not, it has run last. */
  isRunning: Schema.Boolean,
  /**
   * If it runs: milliseconds since it began. Otherwise how long it took, which is known only with `slowStatement`, because
   * statements are not measured without it.
   */
  ranMillis: Schema.optional(Schema.Number)
})
export interface HolderStatement extends Schema.Schema.Type<typeof HolderStatement> {}

/** One lease that is held: by whom, and for how long. */
export const Holder = Schema.Struct({
  /** The pool's number for the connection. */
  connection: Schema.Number,
  /** The `label` given to `use`, `useSync` or `acquire`; else the name of the span that the fiber is in. */
  label: Schema.optional(Schema.String),
  /** The span that the fiber is in, to find it in a trace. */
  span: Schema.optional(Schema.Struct({ traceId: Schema.String, spanId: Schema.String })),
  /** The id of the fiber that took the lease. */
  fiber: Schema.Number,
  /** Milliseconds since the lease began. */
  heldMillis: Schema.Number,
  /** The statement that runs under this lease, or has run last, if there was one and the driver reports statements. */
  statement: Schema.optional(HolderStatement)
})
export interface Holder extends Schema.Schema.Type<typeof Holder> {}

/** A connection whose lease has ended, while something of it still runs; and whose lease that was. */
export const AbandonedConnection = Schema.Struct({
  /** The pool's number for the connection. */
  connection: Schema.Number,
  /** What runs on it, if the driver says so, such as the text of a statement. */
  description: Schema.optional(Schema.String),
  /** The label of the lease: see `Holder`. */
  label: Schema.optional(Schema.String),
  /** The span that the lease was taken in. */
  span: Schema.optional(Schema.Struct({ traceId: Schema.String, spanId: Schema.String })),
  /** The id of the fiber that had the lease. */
  fiber: Schema.Number,
  /** Milliseconds since the lease ended. */
  abandonedMillis: Schema.Number
})
export interface AbandonedConnection extends Schema.Schema.Type<typeof AbandonedConnection> {}

export const holdersText = (holders: ReadonlyArray<Holder>): string =>
  holders.length === 0
    ? ""
    : `; held longest by ${
      holders.map((holder) =>
        `${nameOf(holder)} #${holder.fiber} for ${Math.round(holder.heldMillis)} ms${statementText(holder)}`
      ).join(", ")
    }`

export const abandonedText = (
  abandoned: ReadonlyArray<AbandonedConnection> | undefined,
  { abandoned: count, max }: { readonly abandoned: number; readonly max: number }
): string =>
  abandoned === undefined || abandoned.length === 0
    ? ""
    : `; ${count} of ${max} still ${count === 1 ? "runs" : "run"} what ${
      count === 1 ? "a caller has" : "callers have"
    } left: ${abandoned.map(leftText).join(", ")}`

/** Who has left an abandoned connection, when, and what runs on it. */
export const leftText = ({ abandonedMillis, description, fiber, label }: AbandonedConnection): string =>
  `${nameOf({ label })} #${fiber}, ${Math.round(abandonedMillis)} ms ago${
    description === undefined ? "" : ` (${inOneLine(description, 120)})`
  }`

/** The label of a lease in a message, or what stands for it. */
export const nameOf = ({ label }: { readonly label?: string | undefined }, otherwise = "fiber"): string =>
  label === undefined ? otherwise : labelText(label)

/** The statement of a holder in a message, or nothing. */
export const statementText = ({ statement }: Holder): string => {
  if (statement === undefined) return ""
  const { isRunning, ranMillis, text } = statement
  const time = ranMillis === undefined ? "" : `, for ${millis(ranMillis)}`
  return ` (${isRunning ? "runs" : "last ran"} ${JSON.stringify(cut(text, 100))}${time})`
}

/** The text of a deadline, which may be shorter than a millisecond. */
export const millis = (value: number): string => `${Math.round(value * 1000) / 1000} ms`
