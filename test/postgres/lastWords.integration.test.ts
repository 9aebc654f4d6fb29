/** Why a session has ended, as its wire tells. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type AddressInfo, createServer } from "node:net"
import { Wire } from "../../src/postgres/internal/connection/wire.ts"

const error = (message: string): Buffer => {
  const body = Buffer.from(`SFATAL\0M${message}\0\0`)
  const head = Buffer.from("E    ")
  head.writeInt32BE(4 + body.length, 1)
  return Buffer.concat([head, body])
}

/** A server that sends each chunk when the one before has arrived, and ends then. */
const serving = (chunks: ReadonlyArray<Buffer>) =>
  Effect.acquireRelease(
    Effect.callback<AddressInfo & { readonly close: () => void }>((resume) => {
      const server = createServer((socket) => {
        const left = [...chunks]
        const next = () => {
          const chunk = left.shift()
          if (chunk === undefined) socket.end()
          else socket.write(chunk)
        }
        socket.on("data", next)
        next()
      })
      server.listen(0, "127.0.0.1", () =>
        resume(Effect.succeed({
          ...server.address() as AddressInfo,
          close: () => server.close()
        })))
    }),
    ({ close }) => Effect.sync(close)
  )

/** What the wire tells once the server has sent these chunks. */
const reasonAfter = Effect.fnUntraced(function*(chunks: ReadonlyArray<Buffer>) {
  const { port } = yield* serving(chunks)
  const wire = new Wire({ host: "127.0.0.1", port, path: undefined }, 1000, false, () => {})
  const socket = wire.open()
  socket.on("data", () => socket.write("next"))
  yield* wire.closed
  return wire.reason
})

describe("a wire that is closed", () => {
  it.live("tells the last words of the server, before what a pooler says after them", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* reasonAfter([error("shutting down")]), "shutting down")
      assert.strictEqual(yield* reasonAfter([error("shutting down"), error("server conn crashed?")]), "shutting down")
    }))

  it.live("tells nothing of an error after which the session went on", () =>
    Effect.gen(function*() {
      const ready = Buffer.from([0x5a, 0, 0, 0, 5, 0x49])
      assert.isUndefined(yield* reasonAfter([error("an old one"), ready]))
    }))
})
