/** Deadlines for answers of a server, in a process that stands still. Time is real: the event loop is what it is about. */
import type { PgConnection } from "@effect/sql-pg/PgConnection"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { createServer, type Socket } from "node:net"
import { Session } from "../../src/postgres/internal/connection/session.ts"
import { Wire } from "../../src/postgres/internal/connection/wire.ts"
import { Cluster } from "../../src/postgres/internal/hosts/cluster.ts"
import * as Watch from "../../src/postgres/internal/hosts/watch.ts"
import { StatementTexts } from "../../src/postgres/internal/sql/statementText.ts"

const deadlineMillis = 40

/** A wire to a server of this process, and the end of the server. */
const connected = Effect.gen(function*() {
  const server = createServer()
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () => Effect.sync(() => server.close())
  )
  const { port } = server.address() as { readonly port: number }
  const wire = new Wire({ host: "127.0.0.1", port, path: undefined }, deadlineMillis, false, () => {})
  yield* Effect.addFinalizer(() => Effect.sync(() => wire.destroy("the test is over")))
  const socket = wire.open()
  const there = yield* Effect.callback<Socket>((resume) => {
    server.once("connection", (accepted) => {
      accepted.on("error", () => {})
      if (!socket.connecting) resume(Effect.succeed(accepted))
      else socket.once("connect", () => resume(Effect.succeed(accepted)))
    })
  })
  /** Whether the answer of the server comes, or the end of the connection. */
  const outcome = Effect.callback<"answered" | "ended">((resume) => {
    socket.once("data", () => resume(Effect.succeed("answered")))
    socket.once("close", () => resume(Effect.succeed("ended")))
  })
  return { wire, there, outcome }
})

/** A session on a wire, whose driver is that of the test. */
const sessionOf = (wire: Wire, query: () => Effect.Effect<unknown>) =>
  new Session({
    driver: { query } as unknown as PgConnection,
    wire,
    statements: { isMeasured: false, run: (_, effect) => effect, runSync: (_, f) => f(), stream: (_, rows) => rows },
    texts: new StatementTexts(),
    isPooled: false,
    isOfSession: true,
    isReadOnly: false
  })

/** The server answers, and this process does nothing for longer than the deadline. */
const answeredWhileStill = (there: Socket) =>
  Effect.sync(() => {
    there.write("answer")
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5 * deadlineMillis)
  })

describe("an answer that has arrived while the process stood still", () => {
  it.live("counts as in time after a cancel", () =>
    Effect.gen(function*() {
      const { outcome, there, wire } = yield* connected
      wire.open()
      yield* answeredWhileStill(there)
      assert.strictEqual(yield* outcome, "answered")
      wire.settled()
      assert.deepStrictEqual([wire.isOpen, wire.reason], [true, undefined])
    }).pipe(Effect.scoped))

  it.live("counts as in time for what begins or ends a transaction", () =>
    Effect.gen(function*() {
      const { outcome, there, wire } = yield* connected
      const session = new Session({
        driver: {} as PgConnection,
        wire,
        statements: {
          isMeasured: false,
          run: (_, effect) => effect,
          runSync: (_, f) => f(),
          stream: (_, rows) => rows
        },
        texts: new StatementTexts(),
        isPooled: false,
        isOfSession: true,
        isReadOnly: false
      })
      const answer = Effect.andThen(answeredWhileStill(there), outcome)
      assert.strictEqual(yield* session.within("commit", answer, deadlineMillis), "answered")
      assert.isTrue(session.isAlive)
    }).pipe(Effect.scoped))

  it.live("is that of a host which is there", () =>
    Effect.gen(function*() {
      const { outcome, there, wire } = yield* connected
      // When its deadline has begun.
      const turn = Effect.promise(() => new Promise(setImmediate))
      const answer = Effect.andThen(turn, Effect.andThen(answeredWhileStill(there), outcome))
      const asked = Effect.map(answer, (what) => ({
        command: "SELECT",
        rows: what === "answered" ? [{ replica: false, timeline: 1, position: "0/1" }] : []
      }))
      const session = sessionOf(wire, () => asked)
      const address = { host: "127.0.0.1", port: 1, path: undefined }
      const options = { maxLagMillis: 1000, mayFallBack: true, tell: () => {}, fence: () => {} }
      const cluster = new Cluster([address], options)
      const open = () => Effect.succeed(session)
      yield* Watch.make({ cluster, open, intervalMillis: 60_000, timeoutMillis: deadlineMillis })
      const [host] = cluster.hosts
      while (host!.problem === undefined && host!.answeredAtMillis === undefined) yield* Effect.sleep(1)
      assert.deepStrictEqual([host!.problem, host!.role], [undefined, "primary"])
    }).pipe(Effect.scoped))

  it.live("is waited for in vain when it does not come", () =>
    Effect.gen(function*() {
      const { outcome, wire } = yield* connected
      wire.open()
      assert.strictEqual(yield* outcome, "ended")
      assert.strictEqual(wire.reason, "a statement was cancelled, but did not end within 40 ms (cancelTimeout)")
    }).pipe(Effect.scoped))
})
