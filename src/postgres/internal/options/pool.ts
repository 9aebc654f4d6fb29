/** The options of a PostgreSQL pool: their rules, and the settings made from them. */
import type { PgClientConfig } from "@effect/sql-pg/PgClient"
import type { Registry } from "@effect/sql-pg/PgTypes"
import { type Config, Effect, Predicate, Redacted, Result } from "effect"
import { userInfo } from "node:os"
import { fromEnvironment } from "../../../internal/options/environment.ts"
import { poolTable } from "../../../internal/options/pool.ts"
import { unless } from "../../../internal/options/problems.ts"
import { check, type Checked, problem, type Relation, type Rules, table } from "../../../internal/options/rules.ts"
import type { PoolConfig } from "../../../PoolConfig.ts"
import type { ConfigProblem, PoolConfigError } from "../../../PoolError.ts"
import type { Settings as ConnectionSettings } from "../connection/factory.ts"
import type { Password } from "../connection/passwords.ts"
import type { Options } from "../contract/poolOptions.ts"
import { isText } from "../sql/text.ts"
import * as Hosts from "./hosts.ts"
import * as SharedReads from "./sharedReads.ts"
import { textRule } from "./text.ts"
import * as Tls from "./tls.ts"
import * as Url from "./url.ts"

export interface PoolSettings {
  readonly name: string
  readonly pool: PoolConfig
  readonly connection: ConnectionSettings
  readonly controlTimeoutMillis: number
  /** Whether there is a pooler in between, where only a transaction keeps its session. */
  readonly isPooled: boolean
  /** The options in which the pool of the connection that listens differs. */
  readonly listener: PoolConfig
  readonly listenerChecks: { readonly checkMillis: number; readonly checkTimeoutMillis: number }
  /** The options of the client of `@effect/sql-pg`. */
  readonly client: PgClientConfig
  readonly spanAttributes: ReadonlyArray<readonly [string, unknown]>
  /** The hosts to choose from. `undefined`: there is one, which is not asked. */
  readonly hosts: Hosts.Settings | undefined
  /** `undefined`: each statement has a connection for itself. */
  readonly sharedReads: SharedReads.Settings | undefined
}

const isName = { kind: "value", accepts: Predicate.isFunction, mustBe: "a function from name to name" } as const

/** Whether a value is a plain record: no date, map or error. */
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  Object.prototype.toString.call(value) === "[object Object]"

const urlProblem = (text: string): string | undefined => {
  const found = Url.read(text)
  return Predicate.isString(found) ? found : undefined
}

/** The settings that an option of the pool has, or that the driver needs as they are. */
const reserved: ReadonlyMap<string, string> = new Map([
  ["user", "username"],
  ["database", "database"],
  ["application_name", "applicationName"],
  ["statement_timeout", "statementTimeout"],
  ["lock_timeout", "lockTimeout"],
  ["idle_in_transaction_session_timeout", "idleInTransactionTimeout"]
])

const checkParameters = (value: unknown, field: string): { value: unknown; problems: ReadonlyArray<ConfigProblem> } => {
  const problems: Array<ConfigProblem> = []
  for (const [name, given] of Object.entries(value as Readonly<Record<string, unknown>>)) {
    const key = `${field}.${name}`
    const option = reserved.get(name.toLowerCase())
    if (option !== undefined) problems.push(problem(key, given, `left out: use ${option}`))
    else if (/^(?:replication|options|client_encoding|_pq_\..*)$/i.test(name)) {
      problems.push(problem(key, given, "left out: the driver needs it"))
    } else if (name === "" || !isText(name)) problems.push(problem(key, given, "left out: no setting has that name"))
    else if (!Predicate.isString(given) || !isText(given)) {
      problems.push(problem(key, given, "text without a zero character"))
    }
  }
  return { value, problems }
}

const { name: _name, ...ofPool } = poolTable.rules

const rules = {
  name: { ...textRule, default: "postgres" },
  url: { kind: "secret", problem: urlProblem },
  host: Hosts.hostRule,
  port: { kind: "count", floor: 1, ceiling: 65_535 },
  hosts: Hosts.hostsRule,
  replicas: Hosts.replicasRule,
  database: textRule,
  username: textRule,
  password: {
    kind: "secret",
    mayBeEffect: true,
    problem: (text) => isText(text) ? undefined : "text without a zero character"
  },
  ssl: { kind: "flag", or: { accepts: isRecord, mustBe: "the options of tls.connect" } },
  applicationName: textRule,
  startupParameters: { kind: "value", accepts: isRecord, mustBe: "a record of texts", resolve: checkParameters },
  statementTimeout: { kind: "duration", default: "Infinity" },
  lockTimeout: { kind: "duration", default: "Infinity" },
  idleInTransactionTimeout: { kind: "duration", default: "1 minute" },
  controlTimeout: { kind: "duration", default: "5 seconds" },
  cancelTimeout: { kind: "duration", default: "1 second", finite: true },
  sharedReads: SharedReads.rule,
  pooler: { kind: "choice", of: ["none", "session", "transaction"], default: "none" },
  prepare: { kind: "flag", default: true },
  statementCacheSize: { kind: "count", default: 100, floor: 1, finite: true },
  maxMessageSize: { kind: "bytes", default: 16 * 1024 * 1024, floor: 1024 },
  ...ofPool,
  types: {
    kind: "value",
    accepts: (given) => Predicate.hasProperty(given, "register") && Predicate.isFunction(given.register),
    mustBe: "a Registry of PgTypes"
  },
  transformResultNames: isName,
  transformQueryNames: isName,
  transformJson: { kind: "flag", default: true },
  spanAttributes: { kind: "value", accepts: isRecord, mustBe: "a record" }
} as const satisfies Rules

/** What a pooler does not take. In session mode, it takes what is prepared. */
const notPooled = [
  "prepare",
  "startupParameters",
  "statementTimeout",
  "lockTimeout",
  "idleInTransactionTimeout"
] as const

const mustBeWithPooler = (field: typeof notPooled[number], pooler: string): string =>
  field === "prepare"
    ? `false with ${pooler}: each transaction may have another session`
    : `left out with ${pooler}, which refuses it: set it for the role (alter role ... set ...)`

/** The options of a PostgreSQL pool. */
export const pgPoolTable = table(rules, [
  {
    fields: ["hosts", "host"],
    broken: (_, other, given) =>
      given.has("hosts") && given.has("host") ? `left out, or ${other}: one of the two` : undefined
  },
  {
    fields: ["username", "username"],
    broken: ({ url, username }) =>
      username === undefined && fromUrl(url).username === undefined && userOfProcess() === undefined
        ? "given, because the user of this process has no name"
        : undefined
  },
  {
    fields: ["database", "startupParameters"],
    broken: ({ applicationName, database, startupParameters, username }, other) =>
      // The server takes 10000 bytes, with some that are sent always, and ends the connection without a word otherwise.
      Buffer.byteLength(JSON.stringify([database, username, applicationName, startupParameters])) > 9000
        ? `shorter: it, ${other}, username and applicationName may have 9000 bytes together`
        : undefined
  },
  // The rest of it is checked by Node.
  { fields: ["ssl", "ssl"], broken: ({ ssl }) => Tls.problemOf(ssl) },
  ...poolTable.relations as unknown as ReadonlyArray<Relation<typeof rules>>,
  {
    fields: ["cancelTimeout", "cancelTimeout"],
    // The driver itself ends the session then.
    broken: ({ cancelTimeout }) => cancelTimeout > 5000 ? "at most 5 seconds" : undefined
  },
  ...(["statementTimeout", "lockTimeout", "idleInTransactionTimeout"] as const).map((
    field
  ): Relation<typeof rules> => ({
    fields: [field, field],
    // The server counts them in 31 bits.
    broken: ({ [field]: millis }) =>
      millis < 2 ** 31 || millis === Infinity ? undefined : "at most 24 days, or Infinity"
  })),
  {
    fields: ["replicas", "pooler"],
    broken: ({ pooler }, other, given) =>
      pooler !== "none" && given.has("replicas")
        ? `left out with ${other} "${pooler}", which refuses the setting that makes a connection read only`
        : undefined
  },
  {
    fields: ["sharedReads", "pooler"],
    broken: ({ pooler, sharedReads }, other) =>
      pooler !== "none" && sharedReads !== undefined
        ? `left out with ${other} "${pooler}", which refuses the settings of such a connection`
        : undefined
  },
  ...notPooled.map((field): Relation<typeof rules> => ({
    fields: [field, "pooler"],
    broken: ({ pooler, prepare }, other, given) =>
      pooler !== "none" && given.has(field) && (field !== "prepare" || (prepare && pooler === "transaction"))
        ? mustBeWithPooler(field, `${other} "${pooler}"`)
        : undefined
  }))
])

/** Whether a setting makes all transactions read only. PostgreSQL takes the beginning of such a word for it. */
const isReadOnly = ([name, value]: readonly [string, unknown]): boolean =>
  name.toLowerCase() === "default_transaction_read_only" &&
  /^\s*(?:on|t(?:r(?:ue?)?)?|y(?:es?)?|1)\s*$/i.test(String(value))

/** Checks all options. */
export const resolve = (options: unknown): Result.Result<PoolSettings, PoolConfigError> => {
  const { checked, problems } = check(pgPoolTable, options)
  return Result.map(unless(checked.name, problems, checked), settingsOf)
}

const fromUrl = (url: unknown): Url.FromUrl =>
  url === undefined ? {} : Url.read(Redacted.value(url as Redacted.Redacted)) as Url.FromUrl

/** The name of the user of this process. A container may run with a number that has no name. */
const userOfProcess = (): string | undefined => {
  try {
    return userInfo().username
  } catch {
    return undefined
  }
}

const settingsOf = (checked: Checked<typeof rules>): PoolSettings => {
  const url = fromUrl(checked.url)
  const { cancelTimeout, controlTimeout, maxMessageSize, name, prepare, statementCacheSize } = checked
  const host = Hosts.withoutBrackets(checked.host ?? url.host ?? "localhost")
  const port = checked.port ?? url.port ?? 5432
  const username = checked.username ?? url.username ?? userOfProcess() ?? ""
  const database = checked.database ?? url.database ?? username
  const given = checked as unknown as Options
  const password = (checked.password as Password | undefined) ??
    (url.password === undefined ? undefined : Redacted.make(url.password))
  const isPooled = checked.pooler === "transaction"
  const hosts = Hosts.settingsOf({
    hosts: checked.hosts as Hosts.Given | undefined ?? (checked.host === undefined ? url.hosts : undefined),
    replicas: checked.replicas as Hosts.Replicas | undefined,
    only: { host, port },
    connectTimeoutMillis: checked.connectTimeout
  })
  const client: PgClientConfig = {
    host,
    port,
    username,
    database,
    // Who looks at an effect sees what is in it, if it is a value.
    password: Effect.isEffect(password) ? Effect.suspend(() => Effect.orDie(password)) : password,
    ssl: Predicate.isObject(given.ssl) ? Tls.optionsOf(given.ssl) : given.ssl ?? url.ssl ?? false,
    applicationName: checked.applicationName ?? url.applicationName ?? name,
    startupParameters: checked.pooler === "none" ? parametersOf(checked) : {},
    types: checked.types as Registry | undefined,
    prepare: prepare && !isPooled,
    preparedStatementCacheSize: statementCacheSize,
    maxMessageSize: maxMessageSize === Infinity ? 2 ** 31 - 1 : maxMessageSize,
    transformResultNames: given.transformResultNames,
    transformQueryNames: given.transformQueryNames,
    transformJson: checked.transformJson,
    spanAttributes: given.spanAttributes
  }
  return {
    name,
    pool: Object.fromEntries([
      ["name", name],
      ...Object.keys(ofPool).map((field) => [field, checked[field as keyof typeof ofPool]])
    ]) as PoolConfig,
    connection: {
      address: Hosts.addressOf(host, port),
      cancelTimeoutMillis: cancelTimeout,
      isPooled,
      isOfSession: checked.pooler === "session",
      isReadOnly: Object.entries(client.startupParameters ?? {}).some(isReadOnly),
      driver: client,
      password
    },
    controlTimeoutMillis: controlTimeout,
    isPooled,
    // Two, because a lost one may still be closing.
    listener: { name: `${name}/listener`, min: 0, max: 2, leakThreshold: Infinity, idleTimeout: 1000, metrics: false },
    listenerChecks: {
      checkMillis: checked.keepalive === Infinity ? 30_000 : checked.keepalive,
      checkTimeoutMillis: checked.validateTimeout
    },
    client,
    spanAttributes: [
      ...Object.entries(given.spanAttributes ?? {}),
      ["db.system.name", "postgresql"],
      ["db.namespace", database],
      ["server.address", hosts === undefined ? host : hosts.addresses.map((address) => address.host).join(",")],
      ["server.port", port]
    ],
    hosts,
    sharedReads: SharedReads.settingsOf(checked.sharedReads as SharedReads.Given | undefined, checked.statementTimeout)
  }
}

interface Timeouts {
  readonly statementTimeout: number
  readonly lockTimeout: number
  readonly idleInTransactionTimeout: number
  readonly startupParameters?: unknown
}

/** The settings that each session begins with, and that `reset all` returns to. */
const parametersOf = (checked: Timeouts): Record<string, string> => {
  const { idleInTransactionTimeout, lockTimeout, startupParameters, statementTimeout } = checked
  const parameters = { ...startupParameters as Record<string, string> | undefined }
  const set = (name: string, millis: number) => {
    // Zero would mean no limit.
    if (millis !== Infinity) parameters[name] = String(Math.max(1, Math.round(millis)))
  }
  set("statement_timeout", statementTimeout)
  set("lock_timeout", lockTimeout)
  set("idle_in_transaction_session_timeout", idleInTransactionTimeout)
  return parameters
}

/** Reads all options from the configuration. Variables that are not set are left out. */
export const config = (prefix: string | undefined): Config.Config<object> =>
  SharedReads.withSharedReads(Hosts.withHosts(fromEnvironment(pgPoolTable, prefix), prefix), prefix)
