/** Random programs of callers that write at the same time. */
import * as fc from "fast-check"

/** A part of a body: a statement, a script, or in a transaction another one. */
export interface Step {
  readonly sql: string
  /** Whether the body goes on if it fails. */
  readonly isCaught: boolean
  /** `first`: its rows are streamed, and left after the first. `script`: several statements at once. Default: all its rows. */
  readonly way?: "first" | "script" | undefined
  /** What is done instead of the statement, in a transaction within that of the body. */
  readonly inner?: Inner | undefined
}

export type Ends = "returns" | "throws" | "throws nothing"

export interface Inner {
  readonly how: "transaction" | "writeSync"
  readonly steps: ReadonlyArray<Step>
  readonly ends: Ends
}

/** What one caller asks for, with a fiber of its own. */
export type Operation =
  /** One statement through `sql`. */
  | { readonly kind: "statement"; readonly sql: string }
  /** One statement whose rows are streamed, and left after the first. */
  | { readonly kind: "stream"; readonly sql: string }
  /** A function given to `writeSync`, a transaction, or a lease in which a transaction is begun by hand. */
  | {
    readonly kind: "body" | "transaction" | "lease"
    /** What a lease sets before it begins its transaction. */
    readonly settings?: ReadonlyArray<string> | undefined
    readonly steps: ReadonlyArray<Step>
    readonly ends: Ends
    /** When it checks foreign keys. Only a transaction can be told so without a statement of its own. */
    readonly keys?: "deferred" | "off" | undefined
  }
  /** Statements without rows, all or none. */
  | { readonly kind: "batch"; readonly all: ReadonlyArray<string>; readonly keys?: "deferred" | undefined }
  /** A read, which may see any state between two writes. */
  | { readonly kind: "read" }

export interface Caller {
  readonly operation: Operation
  /** What becomes of it before its turn, in a wave that is held. */
  readonly fate: "served" | "interrupted" | "late"
}

/** Callers that ask in one turn. If they are held, a lease has the connection until all have joined the line. */
export interface Wave {
  /** What another process changes in the schema before them. It may fail. */
  readonly outside?: string | undefined
  readonly isHeld: boolean
  readonly callers: ReadonlyArray<Caller>
}

export interface Program {
  readonly hasDeferredKeys: boolean
  readonly waves: ReadonlyArray<Wave>
}

export const schema = (hasDeferredKeys: boolean): string =>
  `create table t(id integer primary key autoincrement, n integer unique, m integer default 0 check (m <> 13));
  create table plain(v);
  create table numbered(n integer primary key);
  create table strict_one(n integer) strict;
  create table log(what);
  create trigger logged after insert on t when new.n % 2 = 0 begin insert into log values (new.n); end;
  create table guarded(n);
  create trigger guard before insert on guarded begin
    select case new.n when 1 then raise(rollback, 'rolled back') when 2 then raise(abort, 'aborted')
      when 3 then raise(fail, 'failed') when 4 then raise(ignore) end;
  end;
  create table parent(id integer primary key);
  create table child(p references parent ${hasDeferredKeys ? "deferrable initially deferred" : ""});
  create trigger gone after delete on t when old.n % 5 = 0 begin insert into log values (-old.n); end;
  create table nested(d);
  create trigger nests after insert on nested when new.d > 0 begin insert into nested values (new.d - 1); end;
  create table mixed(v); insert into mixed values (1), ('x'), (2);
  create table grouped(v, g); insert into grouped values (1, 1), (9223372036854775807, 2), (1, 2)`

const many = (k: number) => `values (${k}), (${k + 1}), (${k + 2})`

/** Statements that change rows, and that SQLite undoes in a transaction as alone if they fail. */
const calm: ReadonlyArray<(k: number) => string> = [
  (k) => `insert into t(n) values (${k})`,
  (k) => `insert into t(n) values (${100 + k})`,
  (k) => `insert into t(n) ${many(k)} returning id, n`,
  (k) => `insert into plain values (${k}) returning rowid, v`,
  (k) => `insert or fail into t(n) ${many(k)}`,
  (k) => `insert or ignore into t(n) ${many(k)} returning n`,
  (k) => `insert or replace into t(n) ${many(k)}`,
  (k) => `insert or abort into t(n) ${many(k)}`,
  (k) => `replace into t(n) values (${k}) returning id`,
  (k) => `insert into t(n) values (${k}) on conflict(n) do update set m = m + 1 returning m`,
  (k) => `insert into t(n, m) values (${200 + k}, 1), (${300 + k}, 13)`,
  (k) => `insert or fail into t(n, m) values (${400 + k}, 1), (${500 + k}, 13)`,
  (k) => `update t set n = n + ${k % 4} where n % 3 = ${k % 3} returning n`,
  (k) => `update or fail t set n = n + 1 where n >= ${k}`,
  (k) => `update t set m = 13 where n = ${k}`,
  (k) => `delete from t where n between ${k} and ${k + 1} returning n`,
  (k) => `with c(x) as (values (${k}), (${k + 50})) insert into t(n) select x from c where x % 3 <> 1`,
  (k) => `insert into child values (${k % 6})`,
  (k) => `insert into parent values (${k % 6})`,
  (k) => `delete from parent where id = ${k % 6}`,
  (k) => `delete from child where p = ${k % 6} returning p`,
  (k) => `insert into late values (${k % 6})`,
  (k) => `insert into nested values (${k % 4})`,
  (k) => `insert into plain select ${k} where 'A' like 'a'`
]

/** Statements that change rows, and that may end a transaction or leave a part of them there. */
const wild: ReadonlyArray<(k: number) => string> = [
  (k) => `insert or rollback into t(n) ${many(k)}`,
  (k) => `update or rollback t set n = n + 1 where n >= ${k}`,
  (k) => `insert into guarded values (${k % 7})`,
  (k) => `insert into guarded values (5), (${k % 7}), (6)`,
  () => "insert into strict_one select v from mixed",
  () => "insert or fail into strict_one select v from mixed",
  () => "insert or replace into numbered select v from mixed",
  () => "insert into plain select sum(v) from grouped group by g",
  () => "insert into plain select abs(-9223372036854775807 - 1)",
  (k) => `insert into plain values (json(${k % 2 === 0 ? "'{}'" : "'no'"}))`,
  () => "insert into missing values (1)"
]

/** What is never grouped. */
const others: ReadonlyArray<(k: number) => string> = [
  (k) => `create table if not exists extra_${k % 3}(a)`,
  (k) => `drop table if exists extra_${k % 3}`,
  (k) => `alter table extra_${k % 3} add column b${k}`,
  () => "create index if not exists by_m on t(m)",
  () => "drop index if exists by_m",
  () => "create table if not exists late(p references parent deferrable initially deferred)",
  () => "drop table if exists late",
  () => "vacuum",
  (k) => `pragma user_version = ${k}`,
  () => "analyze"
]

/** What only a body may do. */
const ofBodies: ReadonlyArray<(k: number) => string> = [
  () => "pragma defer_foreign_keys = on",
  (k) => `select n, m from t where n < ${k} order by n`,
  (k) => `create table if not exists extra_${k % 3}(a)`,
  (k) => `drop table if exists extra_${k % 3}`,
  () => "create table if not exists late(p references parent deferrable initially deferred)",
  (k) => `pragma user_version = ${k}`,
  () => "pragma defer_foreign_keys",
  () => "pragma defer_foreign_keys = off",
  () => "pragma recursive_triggers = on",
  () => "pragma ignore_check_constraints = on",
  () => "create temp table if not exists plain(v)",
  () => "create temp trigger if not exists passing after insert on main.t begin insert into log values ('passing'); end"
]

/** What a lease sets before it begins a transaction. Later, it is as before for everybody. */
const settings: ReadonlyArray<string> = [
  "pragma foreign_keys = off",
  "pragma defer_foreign_keys = on",
  "pragma recursive_triggers = on",
  "pragma ignore_check_constraints = on",
  "pragma case_sensitive_like = on",
  "create temp table if not exists plain(v)",
  "create temp table if not exists t(id integer primary key, n integer, m)",
  "attach ':memory:' as other",
  "create table other.missing(n)"
]

/** What another process changes in the schema. The oracle does it on its only connection, which may have temporary tables. */
const outside: ReadonlyArray<string> = [
  "create index if not exists main.by_m on t(m)",
  "drop index if exists main.by_m",
  "create trigger if not exists main.also after insert on plain begin insert into log values (new.v); end",
  "drop trigger if exists main.also",
  "create trigger if not exists main.never before insert on plain when new.v % 4 = 1 begin select raise(rollback, 'never'); end",
  "drop trigger if exists main.never",
  "create table if not exists main.late(p references parent deferrable initially deferred)",
  "drop table if exists main.late",
  "alter table main.plain add column w default 7",
  "create table if not exists main.missing(n)"
]

const sqlOf = (texts: ReadonlyArray<(k: number) => string>): fc.Arbitrary<string> =>
  fc.tuple(fc.constantFrom(...texts), fc.nat(20)).map(([text, k]) => text(k))

const stepOf = (change: fc.Arbitrary<string>, isWild: boolean): fc.Arbitrary<Step> => {
  const sql = isWild ? fc.oneof({ weight: 4, arbitrary: change }, { weight: 1, arbitrary: sqlOf(ofBodies) }) : change
  return fc.oneof(
    { weight: 10, arbitrary: fc.record({ sql, isCaught: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ sql, isCaught: fc.boolean(), way: fc.constant("first" as const) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        sql: fc.tuple(sql, sql).map((both) => both.join("; ")),
        isCaught: fc.boolean(),
        way: fc.constant("script" as const)
      })
    }
  )
}

const ends: fc.Arbitrary<Ends> = fc.oneof(
  { weight: 6, arbitrary: fc.constant("returns" as const) },
  { weight: 1, arbitrary: fc.constantFrom("throws" as const, "throws nothing" as const) }
)

/** A step of a transaction, which may be a transaction too. */
const nestedIn = (step: fc.Arbitrary<Step>, hasBodies: boolean, depth = 2): fc.Arbitrary<Step> => {
  if (depth === 0) return step
  const inner = (how: Inner["how"], step: fc.Arbitrary<Step>): fc.Arbitrary<Step> =>
    fc.record({
      sql: fc.constant(""),
      isCaught: fc.boolean(),
      inner: fc.record({ how: fc.constant(how), steps: fc.array(step, { minLength: 1, maxLength: 3 }), ends })
    })
  return fc.oneof(
    { weight: 6, arbitrary: step },
    { weight: 2, arbitrary: inner("transaction", nestedIn(step, hasBodies, depth - 1)) },
    { weight: hasBodies ? 1 : 0, arbitrary: inner("writeSync", step) }
  )
}

const body = (
  kind: "body" | "transaction" | "lease",
  step: fc.Arbitrary<Step>,
  most: number,
  keys?: "deferred" | "off"
): fc.Arbitrary<Operation> =>
  fc.record({
    kind: fc.constant(kind),
    keys: fc.constant(keys),
    settings: kind === "lease"
      ? fc.oneof(fc.constant([]), fc.array(fc.constantFrom(...settings), { maxLength: 3 }))
      : fc.constant(undefined),
    steps: fc.array(step, { minLength: 1, maxLength: most }),
    ends
  })

const operationOf = (isWild: boolean, hasBodies: boolean): fc.Arbitrary<Operation> => {
  const change = sqlOf(isWild ? [...calm, ...wild] : calm)
  const step = stepOf(change, isWild)
  const nested = nestedIn(step, hasBodies)
  return fc.oneof(
    { weight: 24, arbitrary: fc.record({ kind: fc.constant("statement" as const), sql: change }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("statement" as const), sql: sqlOf(others) }) },
    { weight: hasBodies ? 12 : 0, arbitrary: body("body", step, 4) },
    { weight: 1, arbitrary: body("transaction", nested, 3) },
    { weight: 1, arbitrary: body("transaction", nested, 3, "deferred") },
    { weight: 1, arbitrary: body("transaction", nested, 3, "off") },
    { weight: 1, arbitrary: body("lease", step, 3) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("stream" as const), sql: change }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("batch" as const),
        all: fc.array(change, { minLength: 1, maxLength: 4 }),
        keys: fc.constantFrom(undefined, "deferred" as const)
      })
    },
    { weight: 1, arbitrary: fc.constant<Operation>({ kind: "read" }) }
  )
}

const fate: fc.Arbitrary<Caller["fate"]> = fc.oneof(
  { weight: 8, arbitrary: fc.constant("served" as const) },
  { weight: 1, arbitrary: fc.constant("interrupted" as const) },
  { weight: 2, arbitrary: fc.constant("late" as const) }
)

/** In half of the waves, nothing happens that undoes a group. */
const wave = (most: number, hasBodies: boolean): fc.Arbitrary<Wave> =>
  fc.boolean().chain((isWild) =>
    fc.record({
      outside: fc.oneof(
        { weight: 4, arbitrary: fc.constant(undefined) },
        { weight: 1, arbitrary: fc.constantFrom(...outside) }
      ),
      isHeld: fc.boolean(),
      callers: fc.array(fc.record({ operation: operationOf(isWild, hasBodies), fate }), {
        minLength: 1,
        maxLength: most,
        size: "max"
      })
    })
  )

/** Programs of some waves, each of so many callers at most. A writer in a thread has no `writeSync`, and so no bodies. */
export const programs = (most: number, hasBodies = true): fc.Arbitrary<Program> =>
  fc.record({
    hasDeferredKeys: fc.oneof(
      { weight: 7, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) }
    ),
    waves: fc.array(wave(most, hasBodies), { minLength: 1, maxLength: 3 })
  })
