/** Another process that writes, and takes its time: holds the lock of a SQLite file for so many seconds, or until it ends. */
import { DatabaseSync } from "node:sqlite"
import { setTimeout } from "node:timers/promises"

const [file, seconds = "3600"] = process.argv.slice(2)
using database = new DatabaseSync(file!, { timeout: 10_000 })
database.exec("begin immediate")
process.stdout.write("locked\n")
await setTimeout(Number(seconds) * 1000)
database.exec("rollback")
