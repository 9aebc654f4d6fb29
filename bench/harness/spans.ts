/** A tracer as an exporter has it: real spans, of which the last few hundred are kept. */
import { type Exit, Tracer } from "effect"
import assert from "node:assert/strict"

/** As many as an exporter sends at a time. */
const size = 512

export class Spans {
  /** By their names. */
  #ended = new Map<string, number>()
  readonly #kept: Array<Tracer.Span | undefined> = Array.from({ length: size }, () => undefined)
  #next = 0

  readonly tracer: Tracer.Tracer = Tracer.make({ span: (options) => new Kept(this, options) })

  end(span: Tracer.Span): void {
    this.#kept[this.#next++ % size] = span
    this.#ended.set(span.name, (this.#ended.get(span.name) ?? 0) + 1)
  }

  /** Fails if any other spans have ended since the last time. Those of opening a connection do not count. */
  check(expected: Readonly<Record<string, number>>): void {
    const ended = Array.from(this.#ended).filter(([name]) => !name.startsWith("ConnectionPool."))
    assert.deepEqual(Object.fromEntries(ended.toSorted()), expected, "other spans were made")
    for (const span of this.#kept) {
      if (span?.kind !== "client" || span.name !== statementSpan) continue
      assert.equal(span.status._tag, "Ended")
      assert.equal(span.attributes.get("db.system.name"), "sqlite")
      assert.match(String(span.attributes.get("db.query.text")), /^(select|insert) /)
    }
    this.#ended = new Map()
  }
}

/** What Effect calls the span of a statement on SQLite, and that of a transaction. */
export const statementSpan = "sqlite"
export const transactionSpan = "sql.transaction"

class Kept extends Tracer.NativeSpan {
  readonly #spans: Spans

  constructor(spans: Spans, options: ConstructorParameters<typeof Tracer.NativeSpan>[0]) {
    super(options)
    this.#spans = spans
  }

  override end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    super.end(endTime, exit)
    this.#spans.end(this)
  }
}
