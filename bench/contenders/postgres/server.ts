/** The server that all contenders of a process share: it starts with the first, and stops with the last. */
import { Effect } from "effect"
import type { Folders } from "../../library.ts"
import { loadTesting } from "../../library.ts"
import { scoped } from "../scoped.ts"
import { rows } from "../sqlite/database.ts"

/** Where the database is. */
export interface Where {
  readonly host: string
  readonly port: number
  readonly username: string
  readonly database: string
}

export interface Server {
  readonly where: Where
  /** The sum of all accounts, as a second connection sees it. */
  readonly sum: () => Promise<number>
}

/** How many connections each contender has. */
export const connections = 8

/** How many accounts there are: one for each user, so that none waits for the row of another. */
const accounts = 100

export const select = "select id, name, n from item where id = $1"
export const update = "update account set n = n + 1 where id = $1"

/** Why no server can run here, in one line; `undefined` if one can. */
export const whyNoServer = async (folders: Folders): Promise<string | undefined> =>
  (await loadTesting(folders)).TemporaryPostgres.unavailable()

const setup = [
  "create table item (id int4 primary key, name text not null, n int4 not null)",
  `insert into item select id, 'item ' || id, id * 2 from generate_series(1, ${rows}) id`,
  // Room for new versions of its rows in the pages of the old, so that the table does not grow.
  "create table account (id int4 primary key, n int4 not null) with (fillfactor = 10)",
  `insert into account select id, 0 from generate_series(1, ${accounts}) id`,
  "analyze"
]

const start = async (folders: Folders) => {
  const { TemporaryPostgres } = await loadTesting(folders)
  const { close, value } = await scoped(Effect.gen(function*() {
    const server = yield* TemporaryPostgres.make({ parameters: { max_connections: 200, autovacuum: false } })
    const where = yield* server.database
    const judge = (sql: string) => server.query(sql, { database: where.database })
    for (const sql of setup) yield* judge(sql)
    return { where, judge }
  }))
  const { judge, where } = value
  const sum = async () => Number((await Effect.runPromise(judge("select sum(n) as sum from account")))[0]!["sum"])
  return { close, server: { where, sum } satisfies Server }
}

let running: ReturnType<typeof start> | undefined
let users = 0

/** Opens something on the server. */
export const onServer = async <A extends { readonly close: () => Promise<void> }>(
  folders: Folders,
  open: (server: Server) => Promise<A>
): Promise<A> => {
  users++
  running ??= start(folders)
  const { close, server } = await running
  const opened = await open(server)
  return {
    ...opened,
    close: async () => {
      await opened.close()
      if (--users > 0) return
      running = undefined
      await close()
    }
  }
}
