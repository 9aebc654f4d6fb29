/** Reads the address of a server from a URL: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS. */
import { isText } from "../sql/text.ts"
import { type HostAndPort, readHost } from "./hosts.ts"

/** What a URL says. What it does not say is not set. */
export interface FromUrl {
  hosts?: ReadonlyArray<HostAndPort>
  host?: string
  port?: number
  database?: string
  username?: string
  password?: string
  applicationName?: string
  ssl?: boolean
}

/** Reads a URL. Returns what is wrong with it as a text, which never has the password in it. */
export const read = (given: string): FromUrl | string => {
  const text = given.trim()
  // `URL` leaves them out, and a password with one would be another one.
  if (/[\t\n\r]/.test(text)) return "a URL without line breaks"
  // `/` or `?` in a password ends the part with the host, and the rest of it would be a database or a parameter, which messages show.
  if (/#|^\w+:\/\/[^/?#]*[/?][^#]*@/.test(text)) {
    return "a URL in which # and /, ? and @ of a user, a password or a name are written as %23, %2F, %3F and %40"
  }
  // `URL` knows no list of hosts.
  const [, before, several, after] = /^(\w+:\/\/(?:[^/?#]*@)?)([^/?#@]*,[^/?#@]*)(.*)$/s.exec(text) ?? []
  // Nor a user or a port without a host.
  const [, start, rest] = /^(\w+:\/\/(?:[^/?#]*@(?=[:/?#]|$)|(?=:\d+(?:[/?#]|$))))(.*)$/s.exec(text) ?? []
  let url: URL
  try {
    url = new URL(
      several !== undefined ? `${before}several${after}` : start === undefined ? text : `${start}none${rest}`
    )
  } catch {
    return "a URL such as postgres://user:password@host:5432/database"
  }
  if (url.protocol !== "postgres:" && url.protocol !== "postgresql:") return "a URL that begins with postgres://"
  const found: FromUrl = {}
  let parameters: ReadonlyArray<readonly [name: string, value: string]>
  try {
    const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : decodeURIComponent(url.hostname)
    if (several !== undefined) {
      const problem = readHosts(found, several.split(",").map(decodeURIComponent))
      if (problem !== undefined) return problem
    } else if (host !== "" && start === undefined) found.host = host
    if (url.port !== "") found.port = Number(url.port)
    if (found.port === 0) return badPort
    if (url.username !== "") found.username = decodeURIComponent(url.username)
    if (url.password !== "") found.password = decodeURIComponent(url.password)
    const database = decodeURIComponent(url.pathname.replace(/^\//, ""))
    if (database !== "") found.database = database
    // `searchParams` would make a space of `+`.
    parameters = url.search.slice(1).split("&").filter((each) => each !== "").map((each) => {
      const [name = "", ...value] = each.split("=")
      return [decodeURIComponent(name), decodeURIComponent(value.join("="))] as const
    })
  } catch {
    return "a URL whose parts are written with % correctly"
  }
  for (const [name, value] of parameters) {
    const problem = readParameter(found, name, value)
    if (problem !== undefined) return problem
  }
  // After the hosts, in whatever order the two are written.
  const problem = readPorts(found, parameters.findLast(([name, value]) => name === "port" && value !== "")?.[1])
  if (problem !== undefined) return problem
  const isSendable = Object.values(found).every((part) => typeof part !== "string" || isText(part))
  return isSendable ? found : "a URL without a zero character in its parts"
}

const badPort = "a URL whose port is from 1 to 65535"

const readHosts = (found: FromUrl, list: ReadonlyArray<string>): string | undefined => {
  const hosts: Array<HostAndPort> = []
  for (const text of list) {
    const host = readHost(text)
    if (host === undefined) return "a URL whose hosts are written like db1,db2:5433"
    hosts.push(host)
  }
  delete found.host
  found.hosts = hosts
  return undefined
}

/** Reads the ports: one, or one for each host. */
const readPorts = (found: FromUrl, list: string | undefined): string | undefined => {
  if (list === undefined) return undefined
  const ports = list.split(",").map(Number)
  if (ports.some((port) => !Number.isInteger(port) || port < 1 || port > 65_535)) return badPort
  if (ports.length === 1) found.port = ports[0]!
  else if (ports.length !== found.hosts?.length) return "a URL with one port, or with one for each host"
  else found.hosts = found.hosts.map(({ host }, index) => ({ host, port: ports[index] }))
  return undefined
}

const readParameter = (found: FromUrl, name: string, value: string): string | undefined => {
  // As in other clients, an empty one says nothing.
  if (value === "" && addresses.has(name)) return undefined
  switch (name) {
    case "host":
      if (value.includes(",")) return readHosts(found, value.split(","))
      delete found.hosts
      found.host = value
      return undefined
    case "port":
      return undefined
    case "user":
      found.username = value
      return undefined
    case "password":
      found.password = value
      return undefined
    case "dbname":
      found.database = value
      return undefined
    case "application_name":
      found.applicationName = value
      return undefined
    case "sslmode":
      if (value === "disable") found.ssl = false
      else if (value === "require" || value === "verify-ca" || value === "verify-full") found.ssl = true
      else return "a URL whose sslmode is disable, require, verify-ca or verify-full: with prefer or allow nobody knows"
      return undefined
    case "channel_binding":
      if (value === "disable" || value === "prefer") return undefined
      return without(name, "the driver has none, and sslmode=verify-full has the server proved by its certificate")
    default:
      return without(name, instead.get(name) ?? "use the options of the pool")
  }
}

const addresses: ReadonlySet<string> = new Set(["host", "port", "user", "password", "dbname", "application_name"])

/** A parameter that is ignored would be one that has no effect. What is no name may be part of a secret. */
const without = (name: string, hint: string): string =>
  /^[a-z]\w{0,30}$/i.test(name)
    ? `a URL without the parameter ${name}: ${hint}`
    : "a URL without parameters that have no name: use the options of the pool"

/** What to use in place of the parameters of other clients. */
const instead: ReadonlyMap<string, string> = new Map([
  ["ssl", "use sslmode=verify-full, or the option ssl"],
  ["sslrootcert", "give the certificate as the option ssl: { ca }; without it, those that Node knows count"],
  ["sslcert", "give the certificate as the option ssl: { cert, key }"],
  ["sslkey", "give the key as the option ssl: { cert, key }"],
  ["sslpassword", "give it as the option ssl: { cert, key, passphrase }"],
  ["sslnegotiation", "the driver has only the usual one"],
  ["connect_timeout", "use the option connectTimeout"],
  ["options", "use the option startupParameters"],
  ["passfile", "use the option password"],
  ["target_session_attrs", "the options hosts and replicas find the primary"],
  ["load_balance_hosts", "the options hosts and replicas choose the host"],
  ["keepalives", "they are always sent, after a minute"],
  ["pgbouncer", "use the option pooler"],
  ["connection_limit", "use the option max"],
  ["schema", "use the option startupParameters: { search_path }"]
])
