/** What the file system tells of a path, where it may refuse to tell. */
import { realpathSync, statSync } from "node:fs"

/** The path behind all links. If it cannot be found out: `otherwise`. */
export const realOf = <A>(path: string, otherwise: A): string | A => {
  try {
    return realpathSync(path)
  } catch {
    return otherwise
  }
}

/** The size of a file: 0 if there is none. If it cannot be seen: `otherwise`. */
export const sizeOf = (path: string, otherwise: number): number => {
  try {
    return statSync(path, { throwIfNoEntry: false })?.size ?? 0
  } catch {
    return otherwise
  }
}
