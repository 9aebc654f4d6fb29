/** Runs one case and prints its results. `harness/task.ts` starts it in a process of its own. */
import { cases } from "./cases/index.ts"
import { everybody } from "./contenders/index.ts"
import { effort } from "./harness/effort.ts"
import { toJson } from "./harness/json.ts"
import { run } from "./harness/run.ts"
import type { Task } from "./harness/task.ts"

const task = JSON.parse(process.argv[2]!) as Task
const takesPart = new RegExp(task.contenders)
const who = await everybody(task.folders)
const one = cases(who, effort(task.isShort), task.folders).find(({ name }) => name === task.case)!
const measured = await run({ ...one, contestants: one.contestants.filter(({ name }) => takesPart.test(name)) })
console.log(toJson(measured))
