/** One connection that writes, with a line before it, and three that read, in as few lines as possible. */
import { Effect, Exit, Semaphore } from "effect"
import { DatabaseSync } from "node:sqlite"
import type { EffectClient } from "./client.ts"
import { type Item, select, update } from "./database.ts"

export const floorReaders = async (filename: string): Promise<EffectClient> => {
  const open = () => {
    const database = new DatabaseSync(filename)
    database.exec("pragma synchronous = normal")
    return database
  }
  const writer = open()
  const readers = [open(), open(), open()]
  const change = writer.prepare(update)
  const statements = readers.map((reader) => reader.prepare(select))
  const line = Semaphore.makeUnsafe(1)
  let turn = 0
  return {
    style: "effect",
    read: (key) => Effect.sync(() => statements[turn++ % statements.length]!.get(key) as unknown as Item),
    write: (key, pause) =>
      line.withPermit(Effect.onExit(
        Effect.suspend(() => {
          writer.exec("begin immediate")
          change.run(key)
          return pause
        }),
        (exit) => Effect.sync(() => writer.exec(Exit.isSuccess(exit) ? "commit" : "rollback"))
      )),
    close: async () => {
      for (const database of [...readers, writer]) database.close()
    }
  }
}
