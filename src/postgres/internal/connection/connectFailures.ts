/** What a failed connect attempt means, and what to do about it. */
import { AuthenticationError, ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import { NoPassword } from "../errors.ts"
import { isTransient, nodeCodeOf, sqlStateOf, toSqlError } from "../sqlState.ts"

/**
 * The error of a connect attempt as the caller gets it. If another attempt cannot help, it is not retryable, and its message
 * says what can.
 */
export const toConnectError = (failure: SqlError): SqlError => {
  const error = toSqlError(failure)
  if (isTransient(error)) return error
  const { cause, message, operation = "connect" } = error.reason
  if (sqlStateOf(cause) !== undefined) {
    const hint = hintOf(ofServer, message)
    if (hint === undefined) return error
    return new SqlError({ reason: new AuthenticationError({ cause, message: `${message}: ${hint}`, operation }) })
  }
  const code = nodeCodeOf(cause)
  const hint = hintOf(ofDriver, message) ?? (code === undefined ? undefined : hintOf(ofCodes, code))
  const said = (code?.startsWith("ERR_SSL_") === true ? `Failed to connect: ${reasonOf(cause)}` : message)
    .replace(/^PgConnection: /, "").trim()
  const isTls = (code !== undefined && tlsCode.test(code)) || message.startsWith(noTls)
  const Reason = isTls || error.reason._tag === "AuthenticationError" ? AuthenticationError : UnknownError
  return new SqlError({
    reason: new Reason({ cause, message: hint === undefined ? said : `${said}: ${hint}`, operation })
  })
}

/** The effect of the option `password` has failed. The next connect attempt runs it again. */
export const passwordFailed = (failure: unknown): SqlError => {
  const message = `the effect of the option password has failed: ${
    failure instanceof Error ? failure.message : String(failure)
  }`
  return new SqlError({
    reason: new ConnectionError({ cause: new NoPassword(message, { cause: failure }), message, operation: "connect" })
  })
}

type Hints = ReadonlyArray<readonly [said: RegExp, hint: string]>

const hintOf = (hints: Hints, text: string): string | undefined => hints.find(([said]) => said.test(text))?.[1]

const noTls = "Server refused TLS"

/** The text of OpenSSL without the places in its source. */
const reasonOf = (cause: unknown): string => {
  const { message, reason } = cause as { readonly message: string; readonly reason?: unknown }
  return typeof reason === "string" ? reason : message
}

const tlsCode =
  /^(?:ERR_(?:SSL|TLS)_|CERT_|CRL_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|INVALID_(?:CA|PURPOSE)|HOSTNAME_|PATH_LENGTH_)/

const ofClient =
  "the server does not accept the certificate of this client: give one that it knows as `ssl: { cert, key }`"

/** By what the server says. */
const ofServer: Hints = [
  [/, no encryption/, "the server may want an encrypted connection: set `ssl`"],
  [/valid client certificate/, "give one as `ssl: { cert, key }`"]
]

/** By what the driver says. */
const ofDriver: Hints = [
  [/No password configured/, "the server asks for one: give it as `password`"],
  [
    /^Server refused TLS/,
    "switch it on there (`ssl = on`), or leave out `ssl` if everybody who can read the network may read the data"
  ],
  [
    /exceeds maxMessageSize|Invalid SSLRequest response|Protocol desync|Failed to parse server response/,
    "what answers there seems to be no PostgreSQL server: look at `host` and `port`"
  ]
]

/** By the code of Node or OpenSSL. */
const ofCodes: Hints = [
  [
    /SELF_SIGNED|UNABLE_TO_(?:GET_ISSUER|VERIFY)|CERT_UNTRUSTED/,
    "this process does not know the authority that has signed the certificate of the server: give its certificate as `ssl: { ca }`"
  ],
  [/^CERT_HAS_EXPIRED/, "the server needs a new certificate"],
  [/^CERT_NOT_YET_VALID/, "look at the clock of this machine"],
  [
    /ALTNAME|HOSTNAME/,
    "connect to a name in the certificate, or give the name that is in it as `ssl: { servername }`"
  ],
  [/ALERT_(?:UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED|DECRYPT_ERROR)/, ofClient],
  [
    /PROTOCOL|VERSION/,
    "the two sides have no version of TLS in common: look at `minVersion` and `maxVersion` in `ssl`"
  ],
  [/CIPHER|HANDSHAKE_FAILURE/, "the two sides have no cipher in common: look at `ciphers` in `ssl`"],
  [/^ENOTFOUND/, "no such host"],
  [/^(?:EACCES|EPERM)/, "this user may not enter the folder of the socket, or a firewall refuses it"],
  [/^(?:ENOTDIR|ELOOP|ENAMETOOLONG)/, "`host` must be the folder of the socket"]
]
