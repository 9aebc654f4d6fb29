/** Measures idle pools of one contender and prints what each of them holds: run by `idle.ts`, in a process of its own. */
import assert from "node:assert/strict"
import { createHook } from "node:async_hooks"
import { copyFileSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { all, everybody } from "../contenders/index.ts"
import { fill } from "../contenders/sqlite/database.ts"
import { type Round, served } from "../harness/case.ts"
import { toJson } from "../harness/json.ts"
import { turns } from "../harness/settle.ts"
import type { IdleTask } from "./idle.ts"
import { readOne } from "./start.ts"

const { contender: name, folders, units, what } = JSON.parse(process.argv[2]!) as IdleTask
const { pools, sqlite } = await everybody(folders)
const folder = mkdtempSync(join(tmpdir(), "bench-idle-"))

/** Timers that have not fired and were not cleared, whether they keep the process alive or not. */
const timers = new Set<number>()
const hook = createHook({
  init: (id, type) => {
    if (type === "Timeout") timers.add(id)
  },
  destroy: (id) => {
    timers.delete(id)
  }
})

const openPool = () => all(pools).find((contender) => contender.name === name)!.open({ size: 4 })

const template = join(folder, "template.db")
let files = 0

/** A database of its own for each, as of a tenant. */
const openDatabase = async () => {
  const filename = join(folder, `${files++}.db`)
  copyFileSync(template, filename)
  const reader = await sqlite.starters.find((contender) => contender.name === name)!.open(filename)
  assert.equal((await readOne(reader, 1)).n, 2, "something else was read")
  return reader
}

const open: () => Promise<unknown> = what === "pools" ? openPool : openDatabase

// Whatever goes on after the last use comes to its end: wakes, closed handles, metrics that are written later.
const quietMillis = 200

/** Opens so many, and waits until nothing goes on. */
const openAll = async (count: number): Promise<ReadonlyArray<unknown>> => {
  const opened = await Promise.all(Array.from({ length: count }, open))
  await setTimeout(quietMillis)
  for (let i = 0; i < 3; i++) globalThis.gc!()
  await turns()
  return opened
}

const measure = async (): Promise<Round> => {
  // What the first ones load is not what each of them holds.
  const first = await openAll(10)
  const before = process.memoryUsage()
  const opened = await openAll(units)
  const after = process.memoryUsage()
  // The hook is in the memory of whatever is made after it.
  hook.enable()
  const watched = await openAll(units / 10)
  hook.disable()
  assert.equal(first.length + opened.length + watched.length, 10 + units + units / 10)
  return {
    cost: {
      "heap bytes": (after.heapUsed - before.heapUsed) / units,
      "resident bytes": (after.rss - before.rss) / units,
      "timers": timers.size / watched.length
    },
    counts: served(opened.length)
  }
}

fill(template, 10)
console.log(toJson(await measure()))
rmSync(folder, { recursive: true })
// All of them are still open, and some of them would go on.
process.exit()
