/** The answers of a thread that were not sent yet, with the times that their requests took. */
import type { GroupOfCallers } from "../../../internal/pool/recorder.ts"
import type { Outcome } from "./group.ts"
import { type Answer, type Answers, slowMillis, type State } from "./protocol.ts"
import { Reports } from "./reports.ts"

export interface OutboxOptions {
  readonly send: (answers: Answers) => void
  /** The time in milliseconds. */
  readonly now: () => number
  /** Whether the time of each request is told. */
  readonly isMeasured: boolean
}

/** Answers that are ready do not wait longer than this for a request that runs after them. */
const flushAfterMillis = 0.5

export class Outbox {
  readonly reports = new Reports()
  readonly #options: OutboxOptions
  #answers: Array<Answer> = []
  #groups: Array<GroupOfCallers> = []
  #sentAt = 0
  /** When the present step of a request has begun, and how long its earlier steps took. */
  #enteredAt = 0
  #spentMillis = 0

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  /** A message has arrived. */
  begin(): void {
    this.#sentAt = this.#options.now()
  }

  /** A step of a request begins, whose earlier steps took so long. */
  enter(spentMillis: number): void {
    this.#enteredAt = this.#options.now()
    this.#spentMillis = spentMillis
  }

  /** How long the present request has run. */
  get spentMillis(): number {
    return this.#spentMillis + this.#options.now() - this.#enteredAt
  }

  /** Whether answers have waited for so long that what follows should not hold them up. */
  get isDue(): boolean {
    return this.#answers.length > 0 && this.#enteredAt - this.#sentAt > flushAfterMillis
  }

  answer(answer: Answer): void {
    this.#answers.push(answer.kind === "rows" && !answer.isLast ? answer : this.#timed(answer))
  }

  /** Statements were to share a commit. Tells of it, unless each of them ran alone from the beginning. */
  grouped(outcome: Outcome, members: number, tookMillis: number): void {
    const isDone = outcome.tag === "done"
    const size = isDone ? outcome.answers.length : members
    const undoneBecause = outcome.tag === "alone" ? outcome.why : undefined
    if (isDone ? size > 1 : undoneBecause !== undefined) this.#groups.push({ size, tookMillis, undoneBecause })
  }

  #timed(answer: Answer): Answer {
    const tookMillis = this.spentMillis
    return tookMillis >= slowMillis || this.#options.isMeasured ? { ...answer, tookMillis } : answer
  }

  flush(state: () => State): void {
    this.begin()
    const reported = this.reports.take()
    const hasNews = reported !== undefined && (reported.commits.length > 0 || reported.haveOthersCommitted)
    if (this.#answers.length === 0 && !hasNews) return
    const answers = this.#answers
    const groups = this.#groups
    this.#answers = []
    if (groups.length > 0) this.#groups = []
    this.#options.send({
      answers,
      state: state(),
      ...(reported === undefined ? undefined : { reported }),
      ...(groups.length === 0 ? undefined : { groups })
    })
  }
}
