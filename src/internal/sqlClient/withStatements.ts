/** A client of `effect/sql` with other statements. */
import type * as SqlClient from "effect/sql/SqlClient"
import type * as Statement from "effect/sql/Statement"

/** Gives a client other statements. `plain` makes statements that do not change names; not set if no statement does. */
export const withStatements = (
  client: SqlClient.SqlClient,
  statements: Statement.Constructor,
  plain: (() => Statement.Constructor) | undefined
): SqlClient.SqlClient => {
  // Each client has exactly one copy without transforms; a copy of a client gets its own.
  const copies = new WeakMap<SqlClient.SqlClient, SqlClient.SqlClient>()
  return withOwn(statements, client, {
    withoutTransforms(this: SqlClient.SqlClient) {
      if (plain === undefined) return this
      const known = copies.get(this)
      if (known !== undefined) return known
      const copy: SqlClient.SqlClient = withOwn(plain(), this, { withoutTransforms: () => copy })
      copies.set(this, copy)
      return Object.assign(copy, { safe: copy })
    }
  })
}

/** Adds all other properties of a client to statements, in place. */
const withOwn = (
  statements: Statement.Constructor,
  client: SqlClient.SqlClient,
  own: Partial<SqlClient.SqlClient>
): SqlClient.SqlClient => Object.assign(statements, client, { unsafe: statements.unsafe }, own)
