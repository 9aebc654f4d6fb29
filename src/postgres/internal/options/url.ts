/** Reads the address of a server from a URL: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS. */
import { type HostAndPort, readHost } from "./hosts.ts"
import { isText } from "./text.ts"

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
export const read = (text: string): FromUrl | string => {
  // `URL` knows no list of hosts.
  const [, before, several, after] = /^(\w+:\/\/(?:[^/?#]*@)?)([^/?#@]*,[^/?#@]*)(.*)$/s.exec(text) ?? []
  // Nor a user or a port without a host.
  const [, start, rest] = /^\s*(\w+:\/\/(?:[^/?#]*@(?=[:/?#]|\s*$)|(?=:\d+(?:[/?#]|\s*$))))(.*)$/s.exec(text) ?? []
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
  try {
    const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : decodeURIComponent(url.hostname)
    if (several !== undefined) {
      const problem = readHosts(found, decodeURIComponent(several))
      if (problem !== undefined) return problem
    } else if (host !== "" && start === undefined) found.host = host
    if (url.port !== "") found.port = Number(url.port)
    if (found.port === 0) return badPort
    if (url.username !== "") found.username = decodeURIComponent(url.username)
    if (url.password !== "") found.password = decodeURIComponent(url.password)
    const database = decodeURIComponent(url.pathname.replace(/^\//, ""))
    if (database !== "") found.database = database
  } catch {
    return "a URL whose parts are written with % correctly"
  }
  for (const [name, value] of url.searchParams) {
    const problem = readParameter(found, name, value)
    if (problem !== undefined) return problem
  }
  const isSendable = Object.values(found).every((part) => typeof part !== "string" || isText(part))
  return isSendable ? found : "a URL without a zero character in its parts"
}

const badPort = "a URL whose port is from 1 to 65535"

const readHosts = (found: FromUrl, list: string): string | undefined => {
  const hosts: Array<HostAndPort> = []
  for (const text of list.split(",")) {
    const host = readHost(text)
    if (host === undefined) return "a URL whose hosts are written like db1,db2:5433"
    hosts.push(host)
  }
  found.hosts = hosts
  return undefined
}

const readParameter = (found: FromUrl, name: string, value: string): string | undefined => {
  switch (name) {
    case "host":
      if (value.includes(",")) return readHosts(found, value)
      found.host = value
      return undefined
    case "port": {
      const port = Number(value)
      if (!Number.isInteger(port) || port < 1 || port > 65_535) return badPort
      found.port = port
      return undefined
    }
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
    default:
      // A parameter that is ignored would be one that has no effect.
      return `a URL without the parameter ${name}: use the options of the pool`
  }
}
