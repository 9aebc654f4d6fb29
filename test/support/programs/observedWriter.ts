/**
 * Writes random transactions until its input ends, half of which it rolls back. After each, it has said what it committed:
 * the state of its own row.
 */
import { writeSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"

const [filename = ".", seed = "1"] = process.argv.slice(2)

const database = new DatabaseSync(filename, { timeout: 5000 })
let chance = Number(seed)
const draw = (below: number): number => {
  chance = (chance * 48_271) % 2_147_483_647
  return chance % below
}
let version = 0
let isOver = false
process.stdin.on("end", () => {
  isOver = true
})
process.stdin.resume()

const step = () => {
  if (isOver) {
    database.close()
    writeSync(1, `done ${version}\n`)
    return
  }
  const isKept = draw(2) === 0
  database.exec("begin immediate")
  // What is rolled back is negative, and never to be seen.
  database.exec(`update part set version = ${isKept ? version + 1 : -1} where writer = 'other'`)
  database.exec(`update total set version = version + ${isKept ? 1 : -1_000_000}`)
  database.exec(isKept ? "commit" : "rollback")
  if (isKept) version++
  setTimeout(step, draw(4))
}
writeSync(1, "ready\n")
step()
