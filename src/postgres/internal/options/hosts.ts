/** The options of several hosts and of replicas. */
import { Config, Option, Predicate, Schema, SchemaIssue } from "effect"
import { isIPv6 } from "node:net"
import { fromEnvironment, together } from "../../../internal/options/environment.ts"
import { checkRecord, problem, type Resolved, type Rule, table } from "../../../internal/options/rules.ts"
import type { Address } from "../connection/wire.ts"
import type { Settings } from "../hosts/settings.ts"
import { isText } from "../sql/text.ts"

export type { Settings }

/** A host of the list, with its port if it has one of its own. */
export interface HostAndPort {
  readonly host: string
  readonly port: number | undefined
}

export type Given = ReadonlyArray<HostAndPort>

/** The checked options of replicas. */
export interface Replicas {
  readonly min: number
  readonly max: number
  readonly maxLag: number
  readonly fallback: "primary" | "none"
}

/** The socket in the file system, if the host is a folder. */
export const addressOf = (host: string, port: number): Address => ({
  host,
  port,
  path: host.startsWith("/") ? `${host}/.s.PGSQL.${port}` : undefined
})

/** The address in the brackets of an address of IPv6. */
export const withoutBrackets = (host: string): string => {
  const address = /^\[(.+)\]$/.exec(host)?.[1]
  return address !== undefined && isIPv6(address) ? address : host
}

/** Whether a text can be one host: a name, an address or the folder of a socket. */
const isHost = (text: string): boolean => {
  if (text.startsWith("/")) return isText(text)
  const host = withoutBrackets(text)
  return isIPv6(host) || (/^[^\s:,[\]/@]+$/.test(host) && isText(host))
}

export const hostRule = {
  kind: "text",
  accepts: isHost,
  mustBe: "one host without its port, such as \"db.internal\" or \"::1\", or the folder of a socket"
} as const satisfies Rule

const mustBeHost = "a host with or without its port, such as \"db1\", \"db1:5433\" or \"[::1]\""

/** Reads `db1`, `db1:5433`, `[::1]:5433` or the folder of a socket. */
export const readHost = (text: unknown): HostAndPort | undefined => {
  if (!Predicate.isString(text)) return undefined
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|(\/[^:]*|[^\s:,[\]/]+))(?::(\d{1,5}))?$/.exec(text.trim()) ?? []
  const host = bracketed ?? plain
  const number = port === undefined ? undefined : Number(port)
  if (host === undefined || (number !== undefined && (number < 1 || number > 65_535))) return undefined
  return { host, port: number }
}

const resolveHosts = (value: unknown, field: string): Resolved => {
  const given = value as ReadonlyArray<unknown>
  const hosts = given.map(readHost)
  const problems = given.flatMap((text, index) =>
    hosts[index] === undefined ? [problem(`${field}[${index}]`, text, mustBeHost)] : []
  )
  return { value: hosts, problems }
}

export const hostsRule = {
  kind: "value",
  accepts: (value) => Array.isArray(value) && value.length > 0,
  mustBe: "a list of at least one host",
  resolve: resolveHosts
} as const satisfies Rule

export const replicasTable = table({
  min: { kind: "count", default: 0, floor: 0, finite: true },
  max: { kind: "count", default: 8, floor: 1, finite: true },
  maxLag: { kind: "duration", default: "5 seconds" },
  fallback: { kind: "choice", of: ["primary", "none"], default: "primary" }
}, [
  { fields: ["min", "max"], broken: ({ max, min }, other) => min > max ? `at most ${max} (${other})` : undefined }
])

const resolveReplicas = (value: unknown, field: string): Resolved => checkRecord(replicasTable, value, field)

export const replicasRule = {
  kind: "value",
  accepts: (value) => Object.prototype.toString.call(value) === "[object Object]",
  mustBe: "a record with max, min, maxLag and fallback",
  resolve: resolveReplicas
} as const satisfies Rule

/** The settings; `undefined` if there is only one host, and no replicas. */
export const settingsOf = (given: {
  readonly hosts: Given | undefined
  readonly replicas: Replicas | undefined
  readonly only: { readonly host: string; readonly port: number }
  readonly connectTimeoutMillis: number
}): Settings | undefined => {
  const { connectTimeoutMillis, hosts, only, replicas } = given
  if (hosts === undefined && replicas === undefined) return undefined
  const maxLagMillis = replicas?.maxLag ?? Infinity
  const mayFallBack = replicas?.fallback !== "none"
  const intervalMillis = Math.max(20, Math.min(500, maxLagMillis / 10))
  return {
    addresses: (hosts ?? [{ host: only.host, port: undefined }]).map(({ host, port }) =>
      addressOf(host, port ?? only.port)
    ),
    replicas: replicas === undefined ? undefined : { min: replicas.min, max: replicas.max },
    // What is asked, or kept, only now and then may be that much older.
    maxLagMillis: Math.max(0, Math.min(maxLagMillis - intervalMillis, maxLagMillis * 0.99)),
    mayFallBack,
    catchUpMillis: mayFallBack ? 100 : maxLagMillis,
    intervalMillis,
    timeoutMillis: Math.min(3000, connectTimeoutMillis),
    searchMillis: Math.min(5000, connectTimeoutMillis / 2)
  }
}

/** Adds these options from the configuration: `HOSTS=db1,db2:5433`, `REPLICAS_MAX=8`, `REPLICAS_MAX_LAG=5s`. */
export const withHosts = (options: Config.Config<object>, given: string | undefined): Config.Config<object> => {
  const prefix = given === undefined || given === "" ? "" : `${given}_`
  const name = `${prefix}HOSTS`
  const hosts = Config.flatMap(Config.option(Config.String(name)), (given) => {
    const text = Option.getOrElse(given, () => "").trim()
    const list = text === "" ? [] : text.split(",").map((host) => host.trim())
    if (list.every((host) => readHost(host) !== undefined)) return Config.succeed(list)
    const message = problem(name, text, "hosts such as db1,db2:5433").message
    return Config.fail(new Schema.SchemaError(new SchemaIssue.InvalidValue({ message })))
  })
  return Config.map(
    together({ options, hosts, replicas: fromEnvironment(replicasTable, `${prefix}REPLICAS`) }),
    ({ hosts, options, replicas }) => ({
      ...options,
      ...(hosts.length > 0 ? { hosts } : undefined),
      ...(Object.keys(replicas).length > 0 ? { replicas } : undefined)
    })
  )
}
