/** The program of PgBouncer, if it is installed. */
import { spawnSync } from "node:child_process"

/** Debian installs it where only root looks. */
export const environment = { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin` }

/** Its version, as in `PgBouncer 1.18.0`; `undefined` if there is none. */
export const version = (): string | undefined => {
  const { status, stdout } = spawnSync("pgbouncer", ["--version"], { encoding: "utf8", env: environment })
  return status === 0 ? stdout.split("\n")[0] : undefined
}
