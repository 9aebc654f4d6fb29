/**
 * Chooses the host of each session: for those that write the primary, for those that read a fresh replica.
 *
 * The role is asked on the new session itself, so what was seen a moment ago need not be true any more.
 */
import { Effect, Exit, Scope } from "effect"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import type { Choice, OpenAt } from "../connection/factory.ts"
import type { Session } from "../connection/session.ts"
import { NoHost } from "../errors.ts"
import type { Cluster, Host } from "./cluster.ts"
import { type Answer, ask } from "./role.ts"
import { nowMillis, searchMillis, type Watch } from "./watch.ts"

export interface Options {
  readonly cluster: Cluster
  readonly watch: Watch
  /** How long one connect attempt looks for a host, after the first has found none. */
  readonly searchMillis: number
}

export interface Choices {
  readonly writers: Choice
  readonly readers: Choice
  /** Ends the sessions that write to an older timeline. */
  readonly fence: (newest: number) => void
}

/** Where a session was opened, and what its host was then. */
interface Origin {
  readonly host: Host
  readonly timeline: number
}

export const make = ({ cluster, searchMillis: limitMillis, watch }: Options): Choices => {
  const origins = new WeakMap<Session, Origin>()
  const writing = new Set<Session>()
  const hasFailed = { writers: false, readers: false }

  /** Opens a session, and asks it. Returns nothing if its host is not accepted. */
  const openOn = Effect.fnUntraced(function*(
    side: "writers" | "readers",
    host: Host,
    accepts: (answer: Answer) => boolean,
    at: OpenAt,
    died: () => void
  ) {
    let isAccepted = false
    const outer = yield* Effect.scope
    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const scope = yield* Scope.fork(outer)
        const opened = Effect.gen(function*() {
          // Counted before it is open: several that open at the same time must not choose the same host.
          if (side === "readers") {
            yield* Effect.acquireRelease(Effect.sync(() => host.readers++), () => Effect.sync(() => host.readers--))
          }
          const session = yield* at(host.address, () => {
            if (isAccepted) died()
          })
          const answer = yield* ask(session)
          cluster.answered(host, answer, yield* nowMillis)
          return { session, answer }
        })
        const exit = yield* Effect.exit(restore(Scope.provide(opened, scope)))
        if (Exit.isFailure(exit) || !accepts(exit.value.answer)) {
          yield* Scope.close(scope, Exit.void)
          if (Exit.isFailure(exit)) return yield* Effect.failCause(exit.cause)
          return undefined
        }
        const { answer, session } = exit.value
        isAccepted = true
        origins.set(session, { host, timeline: answer.timeline })
        return session
      })
    )
  })

  const choose = (
    side: "writers" | "readers",
    hosts: () => ReadonlyArray<Host>,
    accepts: (host: Host, answer: Answer) => boolean,
    what: string
  ) =>
    Effect.fnUntraced(function*(at: OpenAt, died: () => void): Effect.fn.Return<Session, SqlError, Scope.Scope> {
      const begun = yield* nowMillis
      for (let pass = 0;; pass++) {
        let failure: SqlError | undefined
        for (const host of hosts()) {
          const result = yield* Effect.result(openOn(side, host, (answer) => accepts(host, answer), at, died))
          if (result._tag === "Failure") failure = result.failure
          else if (result.success !== undefined) {
            hasFailed[side] = false
            return result.success
          }
        }
        // The first failure is told at once, with its reason. After that, an attempt looks for a host as long as it may.
        if (pass > 0 && (!hasFailed[side] || (yield* nowMillis) - begun >= limitMillis)) {
          hasFailed[side] = true
          return yield* failure ?? noHost(cluster, what)
        }
        if (pass > 0) yield* Effect.sleep(searchMillis)
        yield* watch.round
      }
    })

  const openWriter = choose(
    "writers",
    () => cluster.primary === undefined ? [] : [cluster.primary],
    (host, { timeline }) => cluster.primary === host && cluster.isCurrent(timeline),
    "takes writes"
  )
  const openReader = choose(
    "readers",
    () => cluster.readable,
    (host) => cluster.mayRead(host),
    "can be read"
  )

  return {
    writers: {
      open: (at, died) =>
        Effect.tap(openWriter(at, died), (session) =>
          Effect.acquireRelease(
            Effect.sync(() => writing.add(session)),
            () => Effect.sync(() => writing.delete(session))
          )),
      mayLend: (session) => {
        const origin = origins.get(session)
        return origin !== undefined && cluster.isCurrent(origin.timeline)
      }
    },
    readers: {
      open: openReader,
      mayLend: (session) => {
        const origin = origins.get(session)
        return origin !== undefined && cluster.mayRead(origin.host)
      }
    },
    fence: (newest) => {
      for (const session of writing) {
        const { host, timeline } = origins.get(session)!
        if (timeline < newest) session.abort(`${host.name} is an old primary: another server was promoted`)
      }
    }
  }
}

const noHost = (cluster: Cluster, what: string): SqlError => {
  const message = `no host ${what}: ${cluster.description}`
  const cause = new NoHost(message, cluster.hosts.every(({ isHopeless }) => isHopeless))
  const Reason = cause.isHopeless ? UnknownError : ConnectionError
  return new SqlError({ reason: new Reason({ cause, message, operation: "connect" }) })
}
