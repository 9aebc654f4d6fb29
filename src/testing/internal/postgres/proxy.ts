/** A network between a client and a server that loses what a test wants lost. */
import { Effect, type Scope } from "effect"
import { connect, createServer, type Socket } from "node:net"

export interface Proxy {
  readonly host: string
  readonly port: number
  /** How many connections go through it now. */
  readonly connections: Effect.Effect<number>
  /**
   * The next answer of the server is lost, and the connection with it: the server has done what it was asked for, but the client
   * does not hear of it.
   */
  readonly loseNextAnswer: Effect.Effect<void>
  /** Loses everything, in both directions and without an end of the connections, until `restore`. New connections hang too. */
  readonly silence: Effect.Effect<void>
  /** Lets everything through again. What was lost stays lost, so connections of before are of no use. */
  readonly restore: Effect.Effect<void>
  /** Cuts all connections. */
  readonly cut: Effect.Effect<void>
}

export const make = (host: string, port: number): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.gen(function*() {
    const pairs = new Set<readonly [Socket, Socket]>()
    let isSilent = false
    let isLosing = false
    const cut = () => {
      for (const [client, server] of pairs) {
        client.destroy()
        server.destroy()
      }
    }
    const server = createServer((client) => {
      const toServer = connect({ host, port, noDelay: true })
      const pair = [client, toServer] as const
      pairs.add(pair)
      client.setNoDelay(true)
      client.on("data", (data) => {
        if (!isSilent) toServer.write(data)
      })
      toServer.on("data", (data) => {
        if (isSilent) return
        if (isLosing) {
          isLosing = false
          client.destroy()
          toServer.destroy()
        } else client.write(data)
      })
      const end = (other: Socket) => () => {
        if (!isSilent) other.destroy()
        pairs.delete(pair)
      }
      client.on("error", () => {}).once("close", end(toServer))
      toServer.on("error", () => {}).once("close", end(client))
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          cut()
        })
    )
    const address = server.address()
    const set = (f: () => void) => Effect.sync(f)
    return {
      host: "127.0.0.1",
      port: typeof address === "object" && address !== null ? address.port : 0,
      connections: Effect.sync(() => pairs.size),
      loseNextAnswer: set(() => {
        isLosing = true
      }),
      silence: set(() => {
        isSilent = true
      }),
      restore: set(() => {
        isSilent = false
      }),
      cut: set(cut)
    }
  })
