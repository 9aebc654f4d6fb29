/**
 * The hosts of a database, as they were last seen: which is the primary, which replicas are fresh, and which timeline is the
 * newest. It decides; `watch.ts` asks.
 *
 * A timeline is fenced: once a newer one was seen on any host, a primary with an older one is refused for ever, also if it is the
 * only one that answers.
 */
import { isIPv6 } from "node:net"
import type { Address } from "../connection/wire.ts"
import type { HostEvent, HostStatus } from "../contract/hosts.ts"
import type { Answer } from "./role.ts"
import { Samples } from "./samples.ts"

export interface Host {
  readonly address: Address
  readonly name: string
  /** What it was when it last answered. */
  role: "unknown" | "primary" | "replica" | "refused"
  timeline: number
  /** What it has replayed, as a replica. */
  replayed: bigint
  /** Why it does not answer; `undefined` if it does. */
  problem: string | undefined
  /** When it last answered; `undefined` if it has not yet. */
  answeredAtMillis: number | undefined
  /** Whether asking it again cannot help: a wrong password, no such database. */
  isHopeless: boolean
  /** How many sessions read from it, or are being opened for that. */
  readers: number
  isFresh: boolean
}

export interface Options {
  readonly maxLagMillis: number
  /** Whether the primary is read if no replica is fresh. */
  readonly mayFallBack: boolean
  /** Is told what happens. */
  readonly tell: (event: HostEvent) => void
  /** Is told that all sessions of an older timeline must end. */
  readonly fence: (newest: number) => void
}

export class Cluster {
  readonly hosts: ReadonlyArray<Host>
  readonly #options: Options
  /** The newest timeline that any host has named. */
  newest = 0
  primary: Host | undefined = undefined
  readonly #samples: Samples
  #lostAtMillis: number | undefined = undefined

  constructor(addresses: ReadonlyArray<Address>, options: Options) {
    this.#options = options
    this.#samples = new Samples(options.maxLagMillis)
    this.hosts = addresses.map((address) => ({
      address,
      name: address.path ?? `${isIPv6(address.host) ? `[${address.host}]` : address.host}:${address.port}`,
      role: "unknown",
      timeline: 0,
      replayed: 0n,
      problem: undefined,
      answeredAtMillis: undefined,
      isHopeless: false,
      readers: 0,
      isFresh: false
    }))
  }

  /** Notes what a host has answered. */
  answered(host: Host, { isReplica, position, timeline }: Answer, nowMillis: number): void {
    host.problem = undefined
    host.answeredAtMillis = nowMillis
    host.isHopeless = false
    host.timeline = timeline
    if (timeline > this.newest) this.#promoted(timeline)
    if (isReplica) {
      this.#noLonger(host, "it is a replica now", nowMillis)
      host.role = "replica"
      host.replayed = position
    } else if (timeline < this.newest) this.#refuse(host, nowMillis)
    else {
      host.role = "primary"
      if (this.primary !== host) this.#found(host, nowMillis)
      this.#samples.add(nowMillis, position)
    }
    this.#judge(nowMillis)
  }

  /** Notes that a host does not answer. */
  silent(host: Host, problem: string, isHopeless: boolean, nowMillis: number): void {
    host.problem = problem
    host.isHopeless = isHopeless
    this.#noLonger(host, problem, nowMillis)
    this.#judge(nowMillis)
  }

  /** Whether a session that writes may be lent: no newer timeline is known than that with which it was opened. */
  isCurrent(timeline: number): boolean {
    return timeline >= this.newest
  }

  /** Whether a host may be read: a fresh replica, or the primary if there is none. */
  mayRead(host: Host): boolean {
    if (host.role === "replica") return host.isFresh
    return host.role === "primary" && this.#options.mayFallBack && this.isCurrent(host.timeline) && !this.hasReplica
  }

  /** Whether a replica can be read now. */
  get hasReplica(): boolean {
    return this.hosts.some((host) => isReadable(host))
  }

  /** The hosts to read from, first those with the fewest sessions. */
  get readable(): ReadonlyArray<Host> {
    const replicas = this.hosts.filter(isReadable).toSorted((one, other) => one.readers - other.readers)
    if (replicas.length > 0) return replicas
    return this.primary === undefined || !this.#options.mayFallBack ? [] : [this.primary]
  }

  status(nowMillis: number): ReadonlyArray<HostStatus> {
    return this.hosts.map((host) => {
      const { answeredAtMillis, isFresh, name, problem, role, timeline } = host
      return {
        host: name,
        role: problem === undefined ? role : "away",
        timeline,
        isFresh: isFresh && problem === undefined,
        lagBytes: this.#lagOf(host),
        answeredAgoMillis: answeredAtMillis === undefined ? undefined : Math.max(0, nowMillis - answeredAtMillis),
        problem
      }
    })
  }

  /** What each host is, for the error of those who find none. */
  get description(): string {
    return this.hosts.map(({ name, problem, role, timeline, isFresh }) => {
      if (problem !== undefined) return `${name}: ${problem}`
      if (role === "refused") return `${name} is an old primary (timeline ${timeline}, the newest is ${this.newest})`
      if (role === "unknown") return `${name} was not asked yet`
      return `${name} is a ${role}${role === "replica" && !isFresh ? " that lags behind" : ""} (timeline ${timeline})`
    }).join("; ")
  }

  #lagOf({ problem, replayed, role, timeline }: Host): number | undefined {
    const written = this.#samples.last
    // Positions of two timelines cannot be compared.
    const isKnown = this.primary !== undefined && role === "replica" && problem === undefined &&
      timeline === this.newest
    if (!isKnown || written === undefined) return undefined
    return written > replayed ? Number(written - replayed) : 0
  }

  #promoted(timeline: number): void {
    this.newest = timeline
    // Positions of the old timeline may never come on the new one.
    this.#samples.clear()
    this.#options.fence(timeline)
  }

  #found(host: Host, nowMillis: number): void {
    // Whoever hears of the promotion first knows only when the one before last answered.
    const lostAt = this.#lostAtMillis ?? this.primary?.answeredAtMillis
    this.primary = host
    this.#lostAtMillis = undefined
    const awayMillis = lostAt === undefined ? undefined : nowMillis - lostAt
    this.#options.tell({ _tag: "PrimaryFound", host: host.name, timeline: host.timeline, awayMillis })
  }

  #noLonger(host: Host, problem: string, nowMillis: number): void {
    if (this.primary !== host) return
    this.primary = undefined
    this.#lostAtMillis = nowMillis
    this.#options.tell({ _tag: "PrimaryLost", host: host.name, problem })
  }

  #refuse(host: Host, nowMillis: number): void {
    this.#noLonger(host, "another server was promoted", nowMillis)
    if (host.role === "refused") return
    host.role = "refused"
    const { name, timeline } = host
    this.#options.tell({ _tag: "OldPrimaryRefused", host: name, timeline, newest: this.newest })
  }

  /**
   * A replica is fresh if it has replayed all that the primary had `maxLag` ago. Its own word does not count: one that is cut off
   * from the primary believes that it has everything. While the primary does not answer, nothing is known to be missing.
   */
  #judge(nowMillis: number): void {
    const needed = this.#samples.neededAt(nowMillis)
    for (const host of this.hosts) {
      if (host.role !== "replica") {
        host.isFresh = false
        continue
      }
      const was = host.isFresh
      host.isFresh = host.problem === undefined && host.replayed >= needed
      if (was === host.isFresh) continue
      this.#options.tell(
        host.isFresh
          ? { _tag: "ReplicaFound", host: host.name }
          : { _tag: "ReplicaLost", host: host.name, problem: host.problem ?? "it lags behind by more than maxLag" }
      )
    }
  }
}

const isReadable = (host: Host): boolean => host.role === "replica" && host.isFresh
