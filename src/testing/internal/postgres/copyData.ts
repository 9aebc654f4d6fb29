/** Copies the data folder of a server that runs, for a replica. */
import { chown, copyFile, mkdir, readdir } from "node:fs/promises"
import { join } from "node:path"
import type { Programs } from "./binaries.ts"

/** Copies a folder. Files that vanish meanwhile are left out: the log of the server tells what became of them. */
export const copyData = async (from: string, to: string, user: Programs["user"]): Promise<void> => {
  const own = (path: string) => user === undefined ? undefined : chown(path, user.uid, user.gid)
  const copy = async (path: string): Promise<void> => {
    await mkdir(join(to, path), { mode: 0o700 })
    await own(join(to, path))
    const entries = await readdir(join(from, path), { withFileTypes: true }).catch(unlessGone([]))
    await Promise.all(
      entries.filter(({ name }) => !ofTheServer.has(name)).map((entry) => {
        const inside = join(path, entry.name)
        if (entry.isDirectory()) return copy(inside)
        return entry.isFile() ? copyOne(inside) : undefined
      })
    )
  }
  const copyOne = async (path: string): Promise<void> => {
    const isThere = await copyFile(join(from, path), join(to, path)).then(() => true).catch(unlessGone(false))
    if (isThere) await own(join(to, path))
  }
  await copy("")
}

/** The files that are about the running server, and not about its data. */
const ofTheServer: ReadonlySet<string> = new Set(["postmaster.pid", "postmaster.opts"])

const unlessGone = <A>(otherwise: A) => (error: unknown): A => {
  if ((error as NodeJS.ErrnoException).code === "ENOENT") return otherwise
  throw error
}
