/** The statements of the floor that may read in threads. */
import { DatabaseSync } from "node:sqlite"
import { scan, select } from "./database.ts"

/** The key of an item, or a scan. */
export type Asked = number | "scan"

export const floorReader = (filename: string) => {
  const database = new DatabaseSync(filename, { readOnly: true })
  const byKey = database.prepare(select)
  const all = database.prepare(scan)
  return {
    answer: (asked: Asked): unknown => asked === "scan" ? all.get() : byKey.get(asked),
    close: () => database.close()
  }
}
