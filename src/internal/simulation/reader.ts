/** Reads options that are inside of options. */
import type { ConfigProblem } from "../../PoolError.ts"
import { check, type Checked, problem, type Rules, type Table } from "../options/rules.ts"

/** Reads a value that has a path, such as `arrivals.perSecond`, and adds its problems. */
export class Reader {
  readonly problems: Array<ConfigProblem> = []

  read<R extends Rules>(path: string, table: Table<R>, value: unknown): Checked<R> {
    const { checked, problems } = check(table, value)
    for (const { field, message, value } of problems) {
      // Each message begins with the name of its option. A value that is no object is called `options`.
      const isWhole = field === "options" && message.startsWith("options ")
      this.problems.push(
        isWhole
          ? { field: path, value, message: path + message.slice("options".length) }
          : { field: `${path}.${field}`, value, message: `${path}.${message}` }
      )
    }
    return checked
  }

  refuse(path: string, value: unknown, mustBe: string): void {
    this.problems.push(problem(path, value, mustBe))
  }
}
