/** A network between a pool and a server, which does with each message what a test says. */
import { Effect, type Scope } from "effect"
import { connect, createServer, type Socket } from "node:net"

export interface Way {
  /** The socket of the client. */
  readonly client: Socket
  /** Loses this message and all later ones of this connection, in both directions. The connection stays open. */
  readonly lose: () => void
  /** Sends this message to the server when the returned function is called, and not before. */
  readonly hold: () => () => void
}

/** `onMessage` is called with what a client has sent, in pieces as they come, before the server gets it. */
export const network = (
  { host, port }: { readonly host: string; readonly port: number },
  onMessage: (message: Buffer, way: Way) => void
): Effect.Effect<{ readonly host: string; readonly port: number }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const sockets = new Set<Socket>()
    const known = (socket: Socket) => {
      sockets.add(socket)
      return socket.on("error", () => {}).once("close", () => sockets.delete(socket)).setNoDelay(true)
    }
    const between = createServer((accepted) => {
      const client = known(accepted)
      const server = known(connect({ host, port }))
      let isLost = false
      let isHeld = false
      client.on("data", (message) => {
        let isOn = !isLost
        if (isOn) {
          onMessage(message, {
            client,
            lose: () => {
              isLost = true
              isOn = false
            },
            hold: () => {
              isHeld = true
              isOn = false
              return () => {
                server.write(message)
              }
            }
          })
        }
        if (isOn) server.write(message)
      })
      server.on("data", (answer) => {
        if (!isLost) client.write(answer)
      })
      client.once("close", () => {
        if (!isHeld) server.destroy()
      })
      server.once("close", () => {
        if (!isLost) client.destroy()
      })
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void between.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          between.close(() => resume(Effect.void))
          for (const socket of sockets) socket.destroy()
        })
    )
    return { host: "127.0.0.1", port: (between.address() as { readonly port: number }).port }
  })

/** Whether a message asks the server to cancel a statement: https://www.postgresql.org/docs/current/protocol-message-formats.html. */
export const isCancel = (message: Buffer): boolean => message.length === 16 && message.readInt32BE(4) === 80877102
