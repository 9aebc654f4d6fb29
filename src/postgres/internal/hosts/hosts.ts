/** The hosts of one database for the current scope: watched, told of, and chosen from. */
import { Effect, PubSub, type Scope, Stream } from "effect"
import { sayingOf } from "../../../internal/pool/hostEvents.ts"
import { open, type Settings as ConnectionSettings } from "../connection/factory.ts"
import type { HostEvent, HostStatus } from "../contract/hosts.ts"
import type { StatementTexts } from "../sql/statementText.ts"
import * as Choice from "./choice.ts"
import { Cluster } from "./cluster.ts"
import type { Settings } from "./settings.ts"
import * as Watch from "./watch.ts"

export interface Hosts {
  readonly choices: Choice.Choices
  readonly events: Stream.Stream<HostEvent>
  readonly status: Effect.Effect<ReadonlyArray<HostStatus>>
  /** Stops asking the hosts. */
  readonly stop: Effect.Effect<void>
}

export interface Options {
  readonly name: string
  readonly settings: Settings
  readonly connection: ConnectionSettings
  readonly texts: StatementTexts
}

export const make = Effect.fnUntraced(
  function*({ connection, name, settings, texts }: Options): Effect.fn.Return<Hosts, never, Scope.Scope> {
    const events = yield* PubSub.sliding<HostEvent>(64)
    yield* Effect.addFinalizer(() => PubSub.shutdown(events))
    const log = Effect.runForkWith(yield* Effect.context<never>())
    const cluster: Cluster = new Cluster(settings.addresses, {
      maxLagMillis: settings.maxLagMillis,
      mayFallBack: settings.mayFallBack,
      tell: (event) => {
        PubSub.publishUnsafe(events, event)
        log(logOf(name, event))
      },
      fence: (newest) => choices.fence(newest)
    })
    const watch = yield* Watch.make({
      cluster,
      open: (address) => open({ ...connection, address, isReadOnly: true }, texts, () => {}),
      intervalMillis: settings.intervalMillis,
      timeoutMillis: settings.timeoutMillis
    })
    const choices: Choice.Choices = Choice.make({ cluster, watch, searchMillis: settings.searchMillis })
    return {
      choices,
      events: Stream.fromPubSub(events),
      status: Effect.map(Watch.nowMillis, (now) => cluster.status(now)),
      stop: watch.stop
    }
  }
)

const logOf = (pool: string, event: HostEvent): Effect.Effect<void> => {
  const { isWarning, text } = sayingOf(event)
  return Effect.annotateLogs(isWarning ? Effect.logWarning(text) : Effect.logInfo(text), "pool", pool)
}
