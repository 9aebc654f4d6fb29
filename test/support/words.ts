/** A database of words, for what transactions are on any database. */
import { Effect } from "effect"
import { ConnectionPool, Transactor } from "effect-connection-pool"
import { TransactionConnection } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { ConnectionError, DeadlockError, SqlError, UnknownError } from "effect/sql/SqlError"

/** What the connections of one database have in common. */
class Server {
  /** What was said, in order. */
  readonly said: Array<string> = []
  /** What fails when it is said, each once. */
  readonly failing: Array<string> = []
  /** What is carried out, but without an answer: the connection is lost. */
  readonly unheard: Array<string> = []
  /** What is never answered, and cannot be interrupted. */
  readonly hanging: Array<string> = []
  /** What the driver dies of. */
  readonly dying: Array<string> = []
  /** What is stored for good. */
  readonly stored: Array<string> = []
  readonly connections = new Set<Words>()

  /** Whether a transaction is open. */
  get isOpen(): boolean {
    return [...this.connections].some(({ isOpen }) => isOpen)
  }
}

/** A connection to it, on which each word takes a while. */
export class Words {
  readonly server: Server
  isOpen = false
  #written: Array<string> = []

  constructor(server: Server) {
    this.server = server
  }

  get said() {
    return this.server.said
  }

  say(word: string): Effect.Effect<void, SqlError> {
    const { dying, failing, hanging, said, unheard } = this.server
    return Effect.suspend(() => {
      said.push(word)
      if (take(hanging, word)) return Effect.uninterruptible(Effect.never)
      if (take(dying, word)) return Effect.die(new Error(`died of ${word}`))
      return Effect.andThen(
        Effect.yieldNow,
        Effect.suspend(() => {
          const reason = { cause: word, message: `no ${word}` }
          if (take(failing, word)) {
            return Effect.fail(
              new SqlError({
                reason: word.startsWith("dead") ? new DeadlockError(reason) : new UnknownError(reason)
              })
            )
          }
          this.#carryOut(word)
          if (!take(unheard, word)) return Effect.void
          this.isOpen = false
          return Effect.fail(new SqlError({ reason: new ConnectionError(reason) }))
        })
      )
    })
  }

  #carryOut(word: string) {
    switch (word.split(" ")[0]) {
      case "begin":
        this.isOpen = true
        this.#written = []
        return
      case "commit":
        this.server.stored.push(...this.#written)
        this.isOpen = false
        return
      case "rollback":
      case "lose":
        this.isOpen = false
        return
      default:
        this.#written.push(word)
    }
  }
}

const take = (list: Array<string>, word: string): boolean => {
  const index = list.indexOf(word)
  if (index >= 0) list.splice(index, 1)
  return index >= 0
}

type Isolation = "strict" | "loose"

export const dialect: Transactor.Dialect<Words, Isolation> = {
  isolations: ["strict", "loose"],
  readOnlyIsolations: ["loose", "strict"],
  modeOf: () => ({ isolation: "strict", readOnly: false }),
  begin: (words, { isolation, readOnly }) => words.say(`begin ${isolation}${readOnly ? " reading" : ""}`),
  commit: (words) => words.say("commit"),
  rollback: (words) => words.say("rollback"),
  savepoint: (words, depth) => words.say(`savepoint ${depth}`),
  release: (words, depth) => words.say(`release ${depth}`),
  rollbackTo: (words, depth) => words.say(`undo ${depth}`),
  isTransaction: (words) => words.isOpen
}

let clients = 1000

export interface Options
  extends Partial<Pick<Transactor.MakeOptions<Words, Isolation, never>, "controlTimeout" | "toSql">>
{
  readonly dialect?: Partial<Transactor.Dialect<Words, Isolation>>
  readonly pool?: Omit<ConnectionPool.Options<Words, never, never>, "factory">
}

export const makeWith = Effect.fnUntraced(function*(options: Options) {
  const server = new Server()
  const pool = yield* ConnectionPool.make<Words>({
    factory: {
      connect: Effect.acquireRelease(
        Effect.sync(() => {
          const words = new Words(server)
          server.connections.add(words)
          return words
        }),
        (words) => Effect.sync(() => server.connections.delete(words))
      ),
      needsReset: ({ isOpen }) => isOpen,
      reset: (words) => words.say("reset")
    },
    max: 1,
    drainTimeout: 0,
    ...options.pool
  })
  const transactor = Transactor.make({
    name: "words",
    dialect: { ...dialect, ...options.dialect },
    pool,
    transactionService: TransactionConnection(clients++),
    toSql: options.toSql ?? (() => ({}) as Connection),
    spanAttributes: [],
    controlTimeout: options.controlTimeout
  })
  /** A statement, in the transaction that the fiber is in. */
  const say = (word: string) =>
    Effect.withFiber((fiber) => transactor.connectionOf(fiber)!.steps(word, (words) => words.say(word)))
  return { words: server, pool, say, ...transactor }
})

export const make = makeWith({})
