/** The pool of node-postgres, with a client that has no server. */
import { EventEmitter } from "node:events"
import Pool from "pg-pool"
import type { Contender } from "./contender.ts"
import { type Connection, Ledger, type Lent } from "./ledger.ts"

export const pgPool: Contender = {
  name: "pg-pool",
  open: async ({ acquireTimeoutMillis, size }) => {
    const ledger = new Ledger()
    const pool = new Pool({
      Client: clientOf(ledger),
      min: size,
      max: size,
      ...(acquireTimeoutMillis === undefined ? undefined : { connectionTimeoutMillis: acquireTimeoutMillis })
    })
    // It opens connections only on demand.
    for (const client of await Promise.all(Array.from({ length: size }, () => pool.connect()))) client.release()
    return {
      style: "promise",
      ledger,
      acquire: () => pool.connect(),
      release: (client: Client) => client.release(),
      isTimeout: (error) => error instanceof Error && error.message.startsWith("timeout exceeded"),
      close: async () => {
        await pool.end()
        ledger.check()
      }
    }
  }
}

interface Client extends Lent {
  /** Made by the pool for each lease. */
  release: () => void
}

const clientOf = (ledger: Ledger): new() => Client =>
  class extends EventEmitter implements Client {
    declare release: () => void
    readonly #connection: Connection = ledger.connect()
    /** The pool reads it to see that the client still works. */
    readonly _queryable = true

    connect(done: () => void): void {
      queueMicrotask(done)
    }

    end(done: () => void): void {
      this.#connection.close()
      queueMicrotask(done)
    }

    enter(): void {
      this.#connection.enter()
    }

    leave(): void {
      this.#connection.leave()
    }
  }
