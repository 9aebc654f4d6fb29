/** What an inspector shows of the hosts of a database, with a database that is one in its shape only. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, PubSub, Stream } from "effect"
import type { Inspector } from "effect-connection-pool/inspector"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { TestClock } from "effect/testing"
import * as Inspected from "../support/inspector.ts"
import { make, settle } from "../support/pools.ts"

type Host = Inspector.AnyHost

const primary: Host = {
  host: "db1:5432",
  role: "primary",
  timeline: 7,
  isFresh: false,
  lagBytes: undefined,
  answeredAgoMillis: 40,
  problem: undefined
}

const replica: Host = { ...primary, host: "db2:5432", role: "replica", isFresh: true, lagBytes: 2048 }

/** A database of one pool, with these hosts. */
const databaseOf = Effect.fnUntraced(function*(hosts: () => ReadonlyArray<Host>, name = "orders") {
  const { pool } = yield* make({ name })
  const events = yield* PubSub.unbounded<Inspector.AnyHostEvent>()
  const database = { name, sides: { primary: pool }, hosts: Effect.sync(hosts), hostEvents: Stream.fromPubSub(events) }
  return { database, tell: (event: Inspector.AnyHostEvent) => PubSub.publish(events, event) }
})

describe("the hosts that an inspector shows", () => {
  it.effect("are those of the database as it sees them at this moment", () =>
    Effect.gen(function*() {
      let hosts: ReadonlyArray<Host> = [
        primary,
        replica,
        { ...primary, host: "db3:5432", role: "unknown", timeline: 0, answeredAgoMillis: undefined }
      ]
      const { database } = yield* databaseOf(() => hosts)
      const inspector = yield* Inspected.make({ watch: [database] })
      assert.deepStrictEqual((yield* inspector.events()).hosts, [
        {
          database: "orders",
          host: "db1:5432",
          role: "primary",
          timeline: 7,
          isFresh: false,
          answeredAgoMillis: 40
        },
        {
          database: "orders",
          host: "db2:5432",
          role: "replica",
          timeline: 7,
          isFresh: true,
          lagBytes: 2048,
          answeredAgoMillis: 40
        },
        { database: "orders", host: "db3:5432", role: "unknown", isFresh: false }
      ] as never)
      hosts = [{ ...primary, role: "away", problem: "it has not answered" }, {
        ...replica,
        role: "primary",
        timeline: 8
      }]
      yield* TestClock.adjust("1 second")
      const now = (yield* inspector.events()).hosts
      assert.deepStrictEqual(now.map(({ problem, role, timeline }) => [role, timeline, problem]), [
        ["away", 7, "it has not answered"],
        ["primary", 8, undefined]
      ])
    }))

  it.effect("are in one line and cut, whatever they are called", () =>
    Effect.gen(function*() {
      const evil = `<img src=x>\n\u001b[2J${"x".repeat(100_000)}`
      const { database, tell } = yield* databaseOf(() => [{ ...primary, host: evil, role: evil, problem: evil }])
      const inspector = yield* Inspected.make({ watch: [database] })
      yield* tell({ _tag: "PrimaryLost", host: evil, problem: evil })
      yield* settle
      const { happenings, hosts: [host] } = yield* inspector.events()
      for (
        const [text, most] of [[host!.host, 200], [host!.role, 200], [host!.problem!, 500], [
          happenings[0]!.text,
          3000
        ]] as const
      ) {
        assert.include(text, "<img src=x> [2Jx")
        assert.notMatch(text, /\p{Cc}/u)
        assert.isAtMost(text.length, most + 3)
      }
    }))

  it.effect("are at most fifty of all databases, and those that are away are never missing", () =>
    Effect.gen(function*() {
      const many = yield* Effect.forEach(Array.from({ length: 30 }, (_, index) => index), (index) =>
        databaseOf(() => [
          { ...primary, host: `primary ${index}` },
          index === 29
            ? { ...primary, host: "lost", role: "away", problem: "gone" }
            : index === 28
            ? { ...primary, host: "old", role: "refused" }
            : { ...replica, host: `replica ${index}`, isFresh: index !== 27 }
        ], `database ${index}`))
      const inspector = yield* Inspected.make({ watch: many.map(({ database }) => database) })
      const { hosts, moreHosts } = yield* inspector.events()
      assert.deepStrictEqual([hosts.length, moreHosts], [50, 10])
      assert.deepStrictEqual(hosts.slice(0, 4).map(({ database, host }) => [host, database]), [
        ["lost", "database 29"],
        ["old", "database 28"],
        ["replica 27", "database 27"],
        ["primary 0", "database 0"]
      ])
    }))

  it.effect("have their events among the others, in the words of the log", () =>
    Effect.gen(function*() {
      const { database, tell } = yield* databaseOf(() => [primary])
      const inspector = yield* Inspected.make({ watch: [database] })
      yield* tell({ _tag: "PrimaryLost", host: "db1", problem: "no route" })
      yield* tell({ _tag: "PrimaryFound", host: "db2", timeline: 8, awayMillis: 1200.4 })
      yield* tell({ _tag: "PrimaryFound", host: "db2", timeline: 8, awayMillis: undefined })
      yield* tell({ _tag: "OldPrimaryRefused", host: "db1", timeline: 7, newest: 8 })
      yield* tell({ _tag: "ReplicaLost", host: "db3", problem: "it lags behind" })
      yield* tell({ _tag: "ReplicaFound", host: "db3" })
      yield* settle
      const { happenings } = yield* inspector.events()
      assert.deepStrictEqual(happenings.map(({ level, pool, source, text }) => [pool, source, level, text]), [
        [-1, "orders", "warning", "the primary db1 is lost, writes wait: no route"],
        [-1, "orders", "info", "the primary is db2 (timeline 8), after 1200 ms without one"],
        [-1, "orders", "info", "the primary is db2 (timeline 8)"],
        [-1, "orders", "warning", "db1 is not used: it is an old primary (timeline 7, the newest is 8)"],
        [-1, "orders", "warning", "the replica db3 is not read: it lags behind"],
        [-1, "orders", "info", "the replica db3 can be read"]
      ])
    }))

  it.effect("are none of a database that has none, and of what only looks like it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ name: "alone" })
      const inspector = yield* Inspected.make({ watch: [{ name: "alone", sides: { writer: pool } }] })
      const { hosts, moreHosts } = yield* inspector.events()
      assert.deepStrictEqual([hosts, moreHosts], [[], 0])
      const wrong = { name: "wrong", sides: { writer: pool }, hosts: ["db1"] }
      const error = yield* Effect.flip(Inspected.make({ watch: [wrong as never] }))
      assert.include(String(error), "a PgPool")
    }))
})

describe("an inspector of a SQLite database with workers", () => {
  it.live("has the pool of the workers beside the writer and the readers", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.makeTemporary({ name: "notes", workers: 1 })
      yield* pool.read((reader) => reader.query("select 1 as one"), { execution: "worker" })
      const { databases, pools } = yield* Effect.flatMap(Inspected.make({ watch: [pool] }), (inspector) =>
        inspector.events("?pool=2"))
      assert.deepStrictEqual(
        pools.map(({ name }) =>
          name
        ),
        ["notes/writer", "notes/readers", "notes/workers"]
      )
      assert.deepStrictEqual(databases[0]!.pools, [0, 1, 2])
    }).pipe(Effect.scoped))
})
