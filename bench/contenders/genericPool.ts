/** The most used pool on npm. By default it does not validate connections, and does not limit the wait. */
import { createPool } from "generic-pool"
import type { Contender } from "./contender.ts"
import { type Connection, Ledger } from "./ledger.ts"

export const genericPool: Contender = {
  name: "generic-pool",
  open: async ({ acquireTimeoutMillis, size }) => {
    const ledger = new Ledger()
    const pool = createPool<Connection>(
      {
        create: async () => ledger.connect(),
        destroy: async (connection) => connection.close()
      },
      { min: size, max: size, ...(acquireTimeoutMillis === undefined ? undefined : { acquireTimeoutMillis }) }
    )
    await pool.ready()
    return {
      style: "promise",
      ledger,
      acquire: () => pool.acquire(),
      release: (connection: Connection) => void pool.release(connection),
      isTimeout: (error) => error instanceof Error && error.name === "TimeoutError",
      close: async () => {
        await pool.drain()
        await pool.clear()
        ledger.check()
      }
    }
  }
}
