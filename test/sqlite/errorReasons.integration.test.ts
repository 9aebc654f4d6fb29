/** The reasons of all errors of SQLite, beside those of Effect's own rule; what differs has to be in `docs/sqlite.md`. */
import { SqliteClient as Original } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqliteClient as Pooled } from "effect-connection-pool/sqlite-node"
import * as Reactivity from "effect/reactivity/Reactivity"
import { classifySqliteError } from "effect/sql/SqlError"
import { readFileSync } from "node:fs"
import * as SqliteError from "../../src/sqlite/internal/errors.ts"
import { fromSqlite, isLock } from "../../src/sqlite/internal/failures.ts"
import { isCurable } from "../../src/TransactionError.ts"

/** https://sqlite.org/rescode.html: each primary code, and what extends it, by the number of the extension. */
const codes: Record<string, readonly [primary: number, extensions: string]> = {
  ERROR: [1, "MISSING_COLLSEQ RETRY SNAPSHOT RESERVESIZE KEY UNABLE"],
  INTERNAL: [2, ""],
  PERM: [3, ""],
  // The first is not used.
  ABORT: [4, "- ROLLBACK"],
  BUSY: [5, "RECOVERY SNAPSHOT TIMEOUT"],
  LOCKED: [6, "SHAREDCACHE VTAB"],
  NOMEM: [7, ""],
  READONLY: [8, "RECOVERY CANTLOCK ROLLBACK DBMOVED CANTINIT DIRECTORY"],
  INTERRUPT: [9, ""],
  IOERR: [
    10,
    "READ SHORT_READ WRITE FSYNC DIR_FSYNC TRUNCATE FSTAT UNLOCK RDLOCK DELETE BLOCKED NOMEM ACCESS CHECKRESERVEDLOCK " +
    "LOCK CLOSE DIR_CLOSE SHMOPEN SHMSIZE SHMLOCK SHMMAP SEEK DELETE_NOENT MMAP GETTEMPPATH CONVPATH VNODE AUTH " +
    "BEGIN_ATOMIC COMMIT_ATOMIC ROLLBACK_ATOMIC DATA CORRUPTFS IN_PAGE BADKEY CODEC"
  ],
  CORRUPT: [11, "VTAB SEQUENCE INDEX"],
  NOTFOUND: [12, ""],
  FULL: [13, ""],
  CANTOPEN: [14, "NOTEMPDIR ISDIR FULLPATH CONVPATH DIRTYWAL SYMLINK"],
  PROTOCOL: [15, ""],
  EMPTY: [16, ""],
  SCHEMA: [17, ""],
  TOOBIG: [18, ""],
  CONSTRAINT: [
    19,
    "CHECK COMMITHOOK FOREIGNKEY FUNCTION NOTNULL PRIMARYKEY TRIGGER UNIQUE VTAB ROWID PINNED DATATYPE"
  ],
  MISMATCH: [20, ""],
  MISUSE: [21, ""],
  NOLFS: [22, ""],
  AUTH: [23, "USER"],
  FORMAT: [24, ""],
  RANGE: [25, ""],
  NOTADB: [26, ""],
  NOTICE: [27, "RECOVER_WAL RECOVER_ROLLBACK RBU"],
  WARNING: [28, "AUTOINDEX"]
}

const all: ReadonlyArray<readonly [name: string, code: number]> = Object.entries(codes).flatMap(
  ([name, [primary, extensions]]) =>
    `. ${extensions}`.trim().split(" ").map((extension, at) =>
      [extension === "." ? name : `${name}_${extension}`, primary | (at << 8)] as const
    ).filter(([name]) => !name.endsWith("-"))
)

const thrownWith = (code: number) => Object.assign(new Error("odd"), { code: "ERR_SQLITE_ERROR", errcode: code })

const ours = (code: number) => SqliteError.toSqlError(fromSqlite(thrownWith(code), "run"))

/** As the driver of the ecosystem gives it to Effect. */
const theirs = (code: number): string => classifySqliteError({ ...thrownWith(code), errno: code })._tag

/** The rows of the table in the documentation: codes, our reason, theirs. */
const documented = (): ReadonlyArray<string> => {
  const text = readFileSync(new URL("../../docs/sqlite.md", import.meta.url), "utf8")
  const [, table] = /\n *\| code +\| here[^\n]*\n[^\n]*\n((?: *\|[^\n]*\n)+)/.exec(text) ?? assert.fail("no table")
  return table!.trim().split("\n").flatMap((row) => {
    const [codes, here, there] = row.split("|").slice(1).map((cell) => cell.trim().replaceAll("`", ""))
    return codes!.split(", ").map((code) => `${code}: ${here}, there ${there}`)
  })
}

describe("the reason of an error", () => {
  it("is Effect's own, or is in the list of what is different", () => {
    const known = new Map(all)
    assert.strictEqual(new Set(known.values()).size, 108)
    const some = ["ABORT_ROLLBACK", "READONLY_DIRECTORY", "IOERR_CODEC", "CONSTRAINT_DATATYPE", "WARNING"]
    assert.deepStrictEqual(some.map((name) => known.get(name)), [516, 1544, 9226, 3091, 28])
    const different = all.flatMap(([, code]) => {
      const { _tag } = ours(code).reason
      return _tag === theirs(code) ? [] : [`${code}: ${_tag}, there ${theirs(code)}`]
    })
    assert.deepStrictEqual(documented().toSorted(), different.toSorted())
  })

  it("says that another attempt may succeed where it may, and nowhere else", () => {
    const retryable = all.filter(([, code]) => ours(code).isRetryable).map(([name]) => name)
    assert.deepStrictEqual(retryable, [
      "BUSY",
      "BUSY_RECOVERY",
      "BUSY_SNAPSHOT",
      "BUSY_TIMEOUT",
      "LOCKED_SHAREDCACHE",
      "CANTOPEN",
      "CANTOPEN_NOTEMPDIR",
      "CANTOPEN_ISDIR",
      "CANTOPEN_FULLPATH",
      "CANTOPEN_CONVPATH",
      "CANTOPEN_DIRTYWAL",
      "CANTOPEN_SYMLINK",
      "PROTOCOL"
    ])
    for (const [name, code] of all) {
      // A transaction is run again, and a statement tried again, over locks alone: whatever a reason is called.
      assert.strictEqual(isCurable(ours(code)), isLock(code) || name === "BUSY_SNAPSHOT", name)
    }
  })

  it.effect("is that of the driver of the ecosystem, for the same statements", () =>
    Effect.gen(function*() {
      const statements = [
        "insert into t values (1, 1)",
        "insert into t values (2, 1)",
        "insert into t values (3, null)",
        "insert into t(rowid, u) values (1, 5)",
        "select json('{')",
        "select abs(-9223372036854775808)",
        "select * from nowhere",
        "select",
        "selct 1",
        "insert into u values ('x')"
      ]
      const reasons = (sql: Pooled.SqliteClient | Original.SqliteClient) =>
        Effect.gen(function*() {
          yield* sql`create table t(id integer primary key, u integer unique not null)`
          yield* sql`create table u(n integer) strict`
          yield* sql`insert into t values (1, 1)`
          return yield* Effect.forEach(
            statements,
            (text) => Effect.map(Effect.flip(sql.unsafe(text)), (error) => `${text}: ${error.reason._tag}`)
          )
        })
      const [pooled, original] = yield* Effect.all([
        Effect.flatMap(Pooled.make({ filename: ":memory:" }), reasons),
        Effect.flatMap(Original.make({ filename: ":memory:" }), reasons)
      ])
      assert.deepStrictEqual(pooled, original)
    }).pipe(Effect.provide(Reactivity.layer)))
})
