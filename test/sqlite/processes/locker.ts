/** Takes the write lock of a database and says so; has it until its input ends, or for some milliseconds. */
import { DatabaseSync } from "node:sqlite"

const [file = ".", millis = ""] = process.argv.slice(2)

const database = new DatabaseSync(file)
database.exec("begin immediate; insert into t values (0)")
process.stdout.write("locked\n")
const release = () => {
  database.exec("commit")
  database.close()
  process.exit()
}
if (millis === "") process.stdin.resume().once("end", release)
else setTimeout(release, Number(millis))
