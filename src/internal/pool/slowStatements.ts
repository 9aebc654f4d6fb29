/** The slow statements of a pool, by text, and which of them are logged: data. */
import type { SlowStatement } from "../../ConnectionStats.ts"
import * as Histogram from "../structures/histogram.ts"
import { Quantiles } from "../structures/quantiles.ts"

/** The number of texts that are kept. */
const mostTexts = 100

/** At most one warning in this time, of all statements, and of one text. */
const warnEveryMillis = 1000
const warnOfTextEveryMillis = 60_000

interface Text {
  readonly text: string
  runs: number
  totalMillis: number
  maxMillis: number
  lastMillis: number
  lastAt: number
  warnedAt: number
  readonly times: Quantiles
}

/** Whether a slow statement is logged, and how many were not since the last that was. */
export interface Logged {
  readonly isLogged: boolean
  readonly unlogged: number
}

export class SlowStatements {
  /** How long statements took, slow or not. */
  readonly times = new Histogram.Histogram()
  readonly #texts = new Map<string, Text>()
  #warnedAt = -Infinity
  #unlogged = 0

  /** Notes a slow run of a statement. */
  note(text: string, tookMillis: number, now: number): Logged {
    const its = this.#texts.get(text) ?? this.#add(text)
    its.runs++
    its.totalMillis += tookMillis
    its.maxMillis = Math.max(its.maxMillis, tookMillis)
    its.lastMillis = tookMillis
    its.lastAt = now
    its.times.record(tookMillis)
    if (now - this.#warnedAt < warnEveryMillis || now - its.warnedAt < warnOfTextEveryMillis) {
      return { isLogged: false, unlogged: ++this.#unlogged }
    }
    const unlogged = this.#unlogged
    this.#unlogged = 0
    this.#warnedAt = now
    its.warnedAt = now
    return { isLogged: true, unlogged }
  }

  /** The texts that took longest in total come first. */
  list(pool: string, now: number): ReadonlyArray<SlowStatement> {
    const all = Array.from(this.#texts.values(), (its) => ({
      pool,
      text: its.text,
      runs: its.runs,
      totalMillis: its.totalMillis,
      p99Millis: its.times.of(0.99),
      maxMillis: its.maxMillis,
      lastMillis: its.lastMillis,
      lastAgoMillis: now - its.lastAt
    }))
    return all.toSorted(byTotal)
  }

  /** Adds a text. If there are too many, the one with the smallest total goes. */
  #add(text: string): Text {
    if (this.#texts.size === mostTexts) {
      let least: Text | undefined
      for (const its of this.#texts.values()) {
        if (least === undefined || its.totalMillis < least.totalMillis) least = its
      }
      this.#texts.delete(least!.text)
    }
    const added: Text = {
      text,
      runs: 0,
      totalMillis: 0,
      maxMillis: 0,
      lastMillis: 0,
      lastAt: 0,
      warnedAt: -Infinity,
      times: new Quantiles()
    }
    this.#texts.set(text, added)
    return added
  }
}

export const byTotal = (a: SlowStatement, b: SlowStatement): number => b.totalMillis - a.totalMillis
