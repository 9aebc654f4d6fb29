/** Counts what happens to the requests of a simulation. */
import type { Result } from "./contract.ts"
import { limitsOf } from "./limits.ts"
import type { Settings } from "./options.ts"
import { margin, p99OfAll, summary } from "./summary.ts"
import type { VirtualTime } from "./virtualTime.ts"

export type Loss = "timeouts" | "refused" | "connectErrors" | "broken"

export class Tally {
  /** The connections in use now. */
  inUse = 0
  readonly #settings: Settings
  readonly #time: VirtualTime
  readonly #waits: Array<number> = []
  readonly #threadWaits: Array<number> = []
  readonly #delays: Array<number> = []
  readonly #leases: Array<number> = []
  readonly #responses: Array<number> = []
  readonly #lost = { timeouts: 0, refused: 0, connectErrors: 0, broken: 0 }
  #arrived = 0
  #waited = 0
  #demandMillis = 0
  #workMillis = 0
  #drawn = 0
  #waiting = 0
  #mostInUse = 0
  #mostWaiting = 0
  /** The time in which requests are counted. */
  #from = 0
  #to = Infinity
  /** The time that connections were in use meanwhile, and when that was last brought up to date. */
  #inUseMillis = 0
  #updatedAt = 0

  constructor(settings: Settings, time: VirtualTime) {
    this.#settings = settings
    this.#time = time
  }

  /** A request arrives. Returns whether it counts. */
  arrived(index: number): boolean {
    const { durationMillis, requests, warmUp } = this.#settings
    const isWarm = durationMillis < Infinity
      ? this.#time.now >= warmUp * durationMillis
      : index >= Math.floor(warmUp * requests)
    if (isWarm) {
      if (this.#arrived++ === 0) {
        this.#update()
        this.#from = warmUp === 0 ? 0 : this.#time.now
        this.#inUseMillis = warmUp === 0 ? this.#inUseMillis : 0
      }
    }
    this.#waiting++
    return isWarm
  }

  /** The request that has arrived has a connection, waits, or was turned away. */
  asked(): void {
    if (this.#waiting > this.#mostWaiting) this.#mostWaiting = this.#waiting
  }

  /** No more requests will arrive. */
  lastArrived(): void {
    this.#to = this.#time.now
  }

  leased(): void {
    this.#update()
    this.#waiting--
    this.inUse++
    if (this.inUse > this.#mostInUse) this.#mostInUse = this.inUse
  }

  /** The time that a lease will need, without waits, and the part of it on a thread. */
  drawn(isCounted: boolean, millis: number, workMillis: number): void {
    if (!isCounted) return
    this.#drawn++
    this.#demandMillis += millis
    this.#workMillis += workMillis
  }

  returned(): void {
    this.#update()
    this.inUse--
  }

  /** A caller left the line without a connection. */
  left(): void {
    this.#waiting--
  }

  served(isCounted: boolean, waitMillis: number, threadMillis: number, leaseMillis: number): void {
    if (!isCounted) return
    if (waitMillis > 0) this.#waited++
    this.#waits.push(waitMillis)
    this.#threadWaits.push(threadMillis)
    this.#delays.push(waitMillis + threadMillis)
    this.#leases.push(leaseMillis)
    this.#responses.push(waitMillis + leaseMillis)
  }

  lost(isCounted: boolean, loss: Loss, hasWaited: boolean): void {
    if (!isCounted) return
    this.#lost[loss]++
    if (hasWaited) this.#waited++
  }

  #update(): void {
    const now = Math.min(this.#time.now, this.#to)
    this.#inUseMillis += this.inUse * (now - this.#updatedAt)
    this.#updatedAt = now
  }

  summary(durations: ReadonlyArray<number>) {
    return summary(durations)
  }

  result(connects: Result["connects"], lastedMillis: number): Result {
    const { max, seed, service } = this.#settings
    const millis = this.#to - this.#from
    const perSecond = millis > 0 ? this.#arrived * 1000 / millis : 0
    const { broken, connectErrors, refused, timeouts } = this.#lost
    const requests = this.#waits.length + timeouts + refused + connectErrors + broken
    const perMilli = perSecond / 1000 / Math.max(this.#drawn, 1)
    return {
      max,
      seed,
      requests,
      served: this.#waits.length,
      timeouts,
      refused,
      connectErrors,
      broken,
      waited: requests === 0 ? 0 : this.#waited / requests,
      waits: summary(this.#waits),
      meanWaitMargin: margin(this.#waits),
      threadWaits: summary(this.#threadWaits),
      delays: summary(this.#delays),
      p99Delay: p99OfAll(this.#delays, requests),
      leases: summary(this.#leases),
      responses: summary(this.#responses),
      perSecond,
      offeredLoad: perMilli * this.#demandMillis,
      utilization: millis > 0 ? this.#inUseMillis / millis / max : 0,
      threadUtilization: service.work === undefined ? 0 : perMilli * this.#workMillis / service.threads,
      mostInUse: this.#mostInUse,
      mostWaiting: this.#mostWaiting,
      connects,
      lastedMillis,
      limits: limitsOf(this.#settings)
    }
  }
}
