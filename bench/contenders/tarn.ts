/** The pool of Knex. Every acquire has a deadline, by default 30 seconds. */
import { Pool, TimeoutError } from "tarn"
import type { Contender } from "./contender.ts"
import { type Connection, Ledger } from "./ledger.ts"

export const tarn: Contender = {
  name: "tarn",
  open: async ({ acquireTimeoutMillis, size }) => {
    const ledger = new Ledger()
    const pool = new Pool<Connection>({
      create: async () => ledger.connect(),
      destroy: (connection) => connection.close(),
      min: size,
      max: size,
      ...(acquireTimeoutMillis === undefined ? undefined : { acquireTimeoutMillis })
    })
    // It opens connections only on demand.
    const first = await Promise.all(Array.from({ length: size }, () => pool.acquire().promise))
    for (const connection of first) pool.release(connection)
    return {
      style: "promise",
      ledger,
      acquire: () => pool.acquire().promise,
      request: () => {
        const pending = pool.acquire()
        return { promise: pending.promise, abort: () => pending.abort() }
      },
      release: (connection: Connection) => void pool.release(connection),
      isTimeout: (error) => error instanceof TimeoutError,
      close: async () => {
        await pool.destroy()
        ledger.check()
      }
    }
  }
}
