/** The pool of node-postgres, as its users have it: with statements that it prepares, and without. */
import { Pool } from "pg"
import type { Item } from "../sqlite/database.ts"
import type { Client } from "./client.ts"
import { connections, select, update, type Where } from "./server.ts"

export const nodePostgres = (isPrepared: boolean) => async ({ username, ...where }: Where): Promise<Client> => {
  const pool = new Pool({ ...where, user: username, min: connections, max: connections, idleTimeoutMillis: 0 })
  // Its end does not wait until the sockets are closed, so the end of the server may still reach them.
  pool.on("error", () => {})
  const named = (name: string) => isPrepared ? { name } : undefined
  return {
    style: "promise",
    read: async (key) => (await pool.query({ ...named("select"), text: select, values: [key] })).rows[0] as Item,
    addOne: async (account) => {
      const client = await pool.connect()
      try {
        await client.query({ text: "begin" })
        await client.query({ ...named("update"), text: update, values: [account] })
        await client.query({ text: "commit" })
      } catch (error) {
        // It ends the connection, and with it the transaction.
        client.release(error)
        throw error
      }
      client.release()
    },
    close: () => pool.end()
  }
}
