/** Takes the write lock of a database and says so; has it until its input ends. */
import { DatabaseSync } from "node:sqlite"

const [file = "."] = process.argv.slice(2)

const database = new DatabaseSync(file)
database.exec("begin immediate; insert into t values (0)")
process.stdout.write("locked\n")
process.stdin.resume().once("end", () => {
  database.exec("commit")
  database.close()
})
