/** The options of a health checker. */
import { Schedule } from "effect"
import { table } from "./rules.ts"

/** The options that can be read from the environment. */
export const healthConfigTable = table({
  interval: { kind: "duration", default: "10 seconds" },
  timeout: { kind: "duration", default: "5 seconds" },
  concurrency: { kind: "count", default: 1, floor: 1, finite: true },
  connect: { kind: "flag", default: true }
})

export const healthTable = table({
  ...healthConfigTable.rules,
  schedule: { kind: "value", accepts: Schedule.isSchedule, mustBe: "a Schedule" }
}, [{
  fields: ["interval", "schedule"],
  broken: (_, other, given) =>
    given.has("interval") && given.has("schedule") ? `left out where ${other} is given` : undefined
}])
