/** The faults of one operation of a `FaultyFactory`, which exports their types. */
import { Data, type Duration, Effect } from "effect"
import { checkOrThrow } from "../../internal/options/problems.ts"
import { mustBe, problem, table as makeTable, valueOf } from "../../internal/options/rules.ts"

/** The operations that can be made to fail. */
export type Operation = "connect" | "validate" | "reset" | "settle" | "disconnect"

/** The error of the operations of a `FaultyFactory`. */
export class FaultyError extends Data.TaggedError("FaultyError")<{
  readonly operation: Operation | "run" | "start"
  /** The number of the connection. A connect attempt that fails has a number too. */
  readonly connection: number
  /** The answer of the factory's `isTransient` for this error. */
  readonly isTransient: boolean
}> {
  override get message(): string {
    return `${this.operation} of connection ${this.connection} was made to fail`
  }
}

/**
 * Makes one kind of operation fail. The faults apply to the next operations that begin, in the order in which they were set.
 *
 * `times` is a whole number, or `Infinity` for all operations until `clear`. Any other value is a defect, a `TypeError`, and so
 * are invalid options.
 */
export interface Faults {
  /** Makes operations wait from now on, until `open` or `pass` lets them through. */
  readonly hold: Effect.Effect<void>
  /** Lets all operations through: those that wait, and those that come later. */
  readonly open: Effect.Effect<void>
  /**
   * Lets one operation through: the one that has waited longest, or the one at this index among those that wait. Does
   * nothing if no operation waits there. An index that is no whole number is a defect, a `TypeError`.
   */
  readonly pass: (index?: number) => Effect.Effect<void>
  /** The number of operations that wait. */
  readonly waiting: Effect.Effect<number>
  /** Makes the next `times` operations fail. Default: one operation, and not transiently. */
  readonly fail: (times?: number, options?: { readonly transient?: boolean | undefined }) => Effect.Effect<void>
  /** Makes the next `times` operations die. Default: one operation. */
  readonly die: (times?: number) => Effect.Effect<void>
  /**
   * Makes the next `times` operations hang for ever; with `uninterruptible`, even when they are interrupted. Connect and
   * disconnect are always uninterruptible, as with `Effect.acquireRelease`, unless the factory was made with
   * `interruptibleConnect`.
   */
  readonly hang: (times?: number, options?: { readonly uninterruptible?: boolean | undefined }) => Effect.Effect<void>
  /** Makes every operation take this long from now on. */
  readonly delay: (duration: Duration.Input) => Effect.Effect<void>
  /** Removes the delay and all faults that have not happened yet. */
  readonly clear: Effect.Effect<void>
}

type Fault =
  | { readonly _tag: "fail"; readonly transient: boolean }
  | { readonly _tag: "die" }
  | { readonly _tag: "hang"; readonly uninterruptible: boolean }

/** A fault that the next `left` operations have. */
interface PlannedFault {
  readonly fault: Fault
  left: number
}

/** A gate that all operations of one kind pass. It holds them up and makes them fail. */
export class Gate implements Faults {
  readonly #operation: Operation
  readonly #planned: Array<PlannedFault> = []
  readonly #held: Array<() => void> = []
  #isHeld = false
  #delay = 0

  constructor(operation: Operation) {
    this.#operation = operation
  }

  /** Whether the next operation would succeed at once. */
  get isIdle(): boolean {
    return !this.#isHeld && this.#planned.length === 0 && this.#delay === 0
  }

  readonly hold = Effect.sync(() => {
    this.#isHeld = true
  })

  readonly open = Effect.sync(() => {
    this.#isHeld = false
    for (const pass of this.#held.splice(0)) pass()
  })

  readonly waiting = Effect.sync(() => this.#held.length)

  pass(index = 0) {
    return Effect.sync(() => {
      checkCount("index", index)
      for (const pass of this.#held.splice(index, 1)) pass()
    })
  }

  fail(times = 1, options?: { readonly transient?: boolean | undefined }) {
    return this.#plan(times, () => ({
      _tag: "fail",
      transient: checkOrThrow("fail", failTable, options).transient === true
    }))
  }

  die(times = 1) {
    return this.#plan(times, () => ({ _tag: "die" }))
  }

  hang(times = 1, options?: { readonly uninterruptible?: boolean | undefined }) {
    return this.#plan(times, () => ({
      _tag: "hang",
      uninterruptible: checkOrThrow("hang", hangTable, options).uninterruptible === true
    }))
  }

  delay(duration: Duration.Input) {
    return Effect.sync(() => {
      this.#delay = checkOrThrow("delay", delayTable, { delay: duration }).delay
    })
  }

  readonly clear = Effect.sync(() => {
    this.#planned.length = 0
    this.#delay = 0
  })

  #plan(times: number, fault: () => Fault) {
    return Effect.sync(() => {
      checkCount("times", times)
      if (times > 0) this.#planned.push({ fault: fault(), left: times })
    })
  }

  /** The fault of the operation that begins now. */
  #next(): Fault | undefined {
    const next = this.#planned[0]
    if (next === undefined) return undefined
    next.left--
    if (next.left === 0) this.#planned.shift()
    return next.fault
  }

  /** Passes one operation through the gate. Its fault is decided now, and happens once the operation is let through. */
  enter(connection: number): Effect.Effect<void, FaultyError> {
    const fault = this.#next()
    const slow = this.#delay === 0 ? Effect.void : Effect.sleep(this.#delay)
    const passed = this.#isHeld ? Effect.andThen(this.#wait, slow) : slow
    return fault === undefined ? passed : Effect.andThen(passed, this.#befall(fault, connection))
  }

  readonly #wait = Effect.callback<void>((resume) => {
    const pass = () => resume(Effect.void)
    this.#held.push(pass)
    return Effect.sync(() => {
      const index = this.#held.indexOf(pass)
      if (index >= 0) this.#held.splice(index, 1)
    })
  })

  #befall(fault: Fault, connection: number): Effect.Effect<void, FaultyError> {
    switch (fault._tag) {
      case "fail":
        return Effect.fail(new FaultyError({ operation: this.#operation, connection, isTransient: fault.transient }))
      case "die":
        return Effect.die(new Error(`${this.#operation} of connection ${connection} was made to die`))
      case "hang":
        return fault.uninterruptible ? Effect.uninterruptible(Effect.never) : Effect.never
    }
  }
}

const checkCount = (name: string, value: number): void => {
  const rule = { kind: "count", floor: 0 } as const
  if (valueOf(rule, value) === undefined) throw new TypeError(problem(name, value, mustBe(rule)).message)
}

const failTable = makeTable({ transient: { kind: "flag" } })

const hangTable = makeTable({ uninterruptible: { kind: "flag" } })

const delayTable = makeTable({ delay: { kind: "duration", default: 0, zero: true } })
