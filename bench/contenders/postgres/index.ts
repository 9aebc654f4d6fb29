/** Who takes part in what is measured with PostgreSQL. All of it is loaded when it is needed. */
import { type Folders, hasPostgres, loadPostgres } from "../../library.ts"
import type { Client, PostgresContender } from "./client.ts"
import type { ours } from "./ours.ts"
import type { Where } from "./server.ts"

type Way = keyof ReturnType<typeof ours>

export const postgresContenders = (folders: Folders): ReadonlyArray<PostgresContender> => {
  const own = (build: "library" | "before", way: Way) => async (where: Where): Promise<Client> => {
    const [{ ours }, loaded] = [await import("./ours.ts"), await loadPostgres(folders)]
    return ours(loaded[build]!)[way](where)
  }
  const { before } = folders
  const builds = [
    ["ours:", "library"] as const,
    ...(before === undefined || !hasPostgres(before) ? [] : [["before:", "before"] as const])
  ]
  return [
    ...builds.flatMap(([prefix, build]) => [
      { name: `${prefix} sql`, open: own(build, "sql") },
      { name: `${prefix} write`, open: own(build, "write") }
    ]),
    // Only reads share a connection.
    { name: "ours: sql, sharedReads", open: own("library", "sqlShared"), readsOnly: true },
    { name: "floor: connections", open: async (where) => (await import("./sqlPg.ts")).fromList(where) },
    { name: "floor: Pool.use", open: async (where) => (await import("./sqlPg.ts")).poolUse(where) },
    { name: "@effect/sql-pg: sql", open: async (where) => (await import("./sqlPg.ts")).sqlPg(false)(where) },
    {
      name: "@effect/sql-pg: sql, multiplex",
      open: async (where) => (await import("./sqlPg.ts")).sqlPg(true)(where),
      // A transaction has its connection for itself there too.
      readsOnly: true
    },
    { name: "pg.Pool", open: async (where) => (await import("./nodePostgres.ts")).nodePostgres(true)(where) },
    {
      name: "pg.Pool, not prepared",
      open: async (where) => (await import("./nodePostgres.ts")).nodePostgres(false)(where)
    }
  ]
}
