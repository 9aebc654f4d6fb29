/** The metrics of pools: which number of a pool's state each of them shows. */
import type { Context, Metric } from "effect"
import type { EvictReason } from "../../Connection.ts"
import * as PoolMetrics from "../../PoolMetrics.ts"
import * as Histogram from "../structures/histogram.ts"
import * as Sizes from "../structures/sizes.ts"
import { byName, Series } from "./series.ts"
import type { State } from "./state.ts"

/** The part of a pool's state that the metrics read. */
type Source =
  & Pick<State<unknown>, "settings" | "counters" | "connectTimes" | "waitTimes" | "useTimes" | "groups" | "slow">
  & { readonly [List in Lists]: { readonly length: number } }
type Lists = "connecting" | "idle" | "validating" | "inUse" | "resetting" | "abandoned" | "closing" | "waiters"

/** Shows a pool in the metrics. Returns the function to call when the pool is closed. */
export const register = (source: Source, context: Context.Context<never>): () => void => {
  const group = groupOf(source.settings.name, context)
  group.join(source)
  return () => group.leave(source)
}

/** Has the metrics of a registered pool show the groups of its callers too. */
export const showGroups = (source: Source, context: Context.Context<never>): void =>
  groupOf(source.settings.name, context).showGroups()

/** Has the metrics of a registered pool show the statements of its connections too. */
export const showStatements = (source: Source, context: Context.Context<never>): void =>
  groupOf(source.settings.name, context).showStatements()

/** The log of a database. The pool of the connection that writes shows it. */
export interface LogSize {
  readonly bytes: () => number
  /** The length above which it is cut back. */
  readonly limitBytes: number
}

/** Has the metrics of a registered pool show the size of a log too, until the pool is closed. */
export const showLog = (source: Source, context: Context.Context<never>, log: LogSize): void =>
  groupOf(source.settings.name, context).showLog(source, log)

/** The pools of one name. */
class Group extends Series<Source> {
  readonly #metrics: PoolMetrics.PoolMetrics
  #showsGroups = false
  #showsStatements = false
  #showsLogs = false
  readonly #logs = new WeakMap<Source, LogSize>()

  constructor(name: string, context: Context.Context<never>) {
    super(context)
    this.#metrics = PoolMetrics.of(name)
    this.#showGauges()
    this.#showCounts()
  }

  /** Not for every pool: most have no groups. */
  showGroups(): void {
    if (this.#showsGroups) return
    this.#showsGroups = true
    const { groupSize, undoneGroups } = this.#metrics
    this.sums(groupSize, () => new Sizes.Sizes(), Sizes.add, (sum, { groups }) => {
      if (groups !== undefined) Sizes.add(sum, groups.sizes)
    }, stateOf)
    this.counter(undoneGroups, ({ groups }) => groups?.undone ?? 0)
  }

  /** Not for every pool: most do not measure statements. */
  showStatements(): void {
    if (this.#showsStatements) return
    this.#showsStatements = true
    const { slowStatements, statementTime } = this.#metrics
    this.times(statementTime, (sum, { slow }) => {
      if (slow !== undefined) Histogram.add(sum, slow.times)
    })
    this.counter(slowStatements, ({ counters }) => counters.slowStatements)
  }

  /** Not for every pool: most have no log. */
  showLog(source: Source, log: LogSize): void {
    this.#logs.set(source, log)
    if (this.#showsLogs) return
    this.#showsLogs = true
    const { logLimit, logSize } = this.#metrics
    this.gauge(logSize, (source) => this.#logs.get(source)?.bytes() ?? 0)
    this.gauge(logLimit, (source) => this.#logs.get(source)?.limitBytes ?? 0)
  }

  #showGauges(): void {
    const { count, idleMax, idleMin, max, pendingRequests } = this.#metrics
    this.gauge(count.idle, (source) => source.idle.length)
    this.gauge(count.used, (source) => source.inUse.length)
    for (const state of ["connecting", "validating", "resetting", "abandoned", "closing"] as const) {
      this.gauge(count[state], (source) => source[state].length)
    }
    this.gauge(idleMax, (source) => source.settings.max)
    this.gauge(idleMin, (source) => source.settings.min)
    this.gauge(max, (source) => source.settings.max)
    this.gauge(pendingRequests, (source) => source.waiters.length)
  }

  #showCounts(): void {
    const {
      abandonments,
      closeTimeouts,
      connects,
      createTime,
      evictions,
      leaks,
      refusals,
      resets,
      timeouts,
      useTime,
      validations,
      waitTime
    } = this.#metrics
    const show = (counter: Metric.Counter<number>, of: (counters: Source["counters"]) => number) =>
      this.counter(counter, ({ counters }) => of(counters))
    this.times(createTime, (sum, source) => Histogram.add(sum, source.connectTimes))
    this.times(waitTime, (sum, source) => {
      Histogram.add(sum, source.waitTimes)
      // Callers who did not wait are not recorded one by one.
      Histogram.recordZero(sum, source.counters.checkouts - Histogram.count(source.waitTimes))
    })
    this.times(useTime, (sum, source) => Histogram.add(sum, source.useTimes))
    show(timeouts, (counters) => counters.timeouts)
    show(connects.succeeded, (counters) => counters.connects)
    show(connects.failed, (counters) => counters.connectFailures - counters.connectTimeouts)
    show(connects.timed_out, (counters) => counters.connectTimeouts)
    show(validations.succeeded, (counters) => counters.validations - counters.validationFailures)
    show(validations.failed, (counters) => counters.validationFailures)
    show(resets.succeeded, (counters) => counters.resets - counters.resetFailures)
    show(resets.failed, (counters) => counters.resetFailures)
    for (const reason of Object.keys(evictions) as ReadonlyArray<EvictReason>) {
      show(evictions[reason], (counters) => counters.evictions[reason])
    }
    show(leaks, (counters) => counters.leaks)
    show(refusals, (counters) => counters.refused)
    show(closeTimeouts, (counters) => counters.closeTimeouts)
    show(abandonments, (counters) => counters.abandonments)
  }
}

const groupOf = byName((name, context) => new Group(name, context))

const stateOf = (sizes: Sizes.Sizes): Metric.HistogramState => {
  let count = 0
  const buckets = Sizes.sizeBounds.map((bound, index): [number, number] => [bound, count += sizes.counts[index]!])
  count += sizes.counts[Sizes.sizeBounds.length]!
  return { buckets, count, min: count === 0 ? 0 : sizes.min, max: sizes.max, sum: sizes.sum }
}
