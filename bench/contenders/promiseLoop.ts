import { type Contender, never } from "./contender.ts"
import { Ledger } from "./ledger.ts"

/** No pool: the cost of the loop in which the pools made of promises run. */
export const promiseLoop: Contender = {
  name: "floor: await",
  open: async () => {
    const ledger = new Ledger()
    const connection = ledger.connect()
    return {
      style: "promise",
      ledger,
      acquire: () => Promise.resolve(connection),
      release: () => {},
      isTimeout: never,
      close: async () => {
        connection.close()
        ledger.check()
      }
    }
  }
}
