/** The options of TLS: Node itself checks them, before anything is opened. */
import { Predicate } from "effect"
import { isIP } from "node:net"
import { Duplex } from "node:stream"
import { connect, type ConnectionOptions, createSecureContext } from "node:tls"

/**
 * What the options must be; `undefined` if they are valid. The driver would meet invalid ones in a callback of a socket, where
 * nobody can catch what they throw.
 */
export const problemOf = (ssl: unknown): string | undefined => {
  if (!Predicate.isObject(ssl)) return undefined
  try {
    const options = { ...ssl } as ConnectionOptions
    if (options.ca !== undefined && !isPem(options.ca)) return mustBePem("ca")
    const socket = connect({ ...optionsOf(options), host: "localhost", socket: nowhere() })
    socket.on("error", () => {}).destroy()
    return undefined
  } catch (thrown) {
    return `the options of tls.connect: ${reasonOf(thrown)}`
  }
}

/**
 * The options for each connection. The certificates and the key are read once, and are not in them, so that nobody who looks
 * at them sees the key.
 */
export const optionsOf = (ssl: ConnectionOptions): ConnectionOptions => {
  const { ca: _ca, cert: _cert, checkServerIdentity, crl: _crl, key: _key, passphrase: _, pfx: _pfx, ...rest } = ssl
  return {
    ...rest,
    secureContext: rest.secureContext ?? createSecureContext(ssl),
    // An address is no name of a server, and Node will refuse it there. The certificate is compared with the host.
    ...(Predicate.isString(rest.servername) && isIP(rest.servername) !== 0
      ? { servername: "", host: rest.servername }
      : undefined),
    ...(checkServerIdentity === undefined ? undefined : {
      checkServerIdentity: Predicate.isFunction(checkServerIdentity) ? safely(checkServerIdentity) : checkServerIdentity
    })
  }
}

/** The error of `checkServerIdentity`, which is final: the same certificate is refused again. */
class Refused extends Error {
  readonly code = "ERR_TLS_CERT_REFUSED"
}

/** What it throws would be thrown in a callback of the socket. */
const safely = (check: NonNullable<ConnectionOptions["checkServerIdentity"]>): typeof check => (host, certificate) => {
  try {
    const error = check(host, certificate)
    return error === undefined || Predicate.hasProperty(error, "code")
      ? error
      : new Refused(error.message, { cause: error })
  } catch (thrown) {
    return new Refused(`checkServerIdentity: ${thrown instanceof Error ? thrown.message : String(thrown)}`, {
      cause: thrown
    })
  }
}

const nowhere = (): Duplex =>
  new Duplex({
    read: () => {},
    write: (_chunk, _encoding, done) => done()
  })

/** Whether there is a certificate in each part. Node takes a text without one for no certificate, and says nothing. */
const isPem = (ca: unknown): boolean =>
  Array.isArray(ca) ? ca.length > 0 && ca.every(isPem) : /-----BEGIN [\w ]*CERTIFICATE-----/.test(String(ca))

const mustBePem = (name: string): string =>
  `the options of tls.connect: ${name} must be the text of a certificate (PEM), and not the name of its file`

/** What Node says, without the value, which may be a secret. */
const reasonOf = (thrown: unknown): string => {
  const { message } = thrown instanceof Error ? thrown : new Error(String(thrown))
  if (/no start line/.test(message)) return "cert and key must be texts (PEM), and not the names of their files"
  if (/key values mismatch/.test(message)) return "key is not the key of cert"
  if (/bad decrypt|interrupted or cancelled|bad password read/.test(message)) return "passphrase does not open key"
  return message.replace(/ Received .*$/s, "").replace(/^error:\w+:/, "")
}
