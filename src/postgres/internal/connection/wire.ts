/**
 * The sockets of one session: its own, and those on which its statements are cancelled.
 *
 * The driver asks for each socket here, so this file knows at once when one is closed. A statement whose end is not seen within
 * `cancelTimeout` after its cancel ends with its session, so nobody waits for a server that is frozen.
 */
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { connect, type Socket } from "node:net"
import { sqlStateOf } from "../sqlState.ts"
import { Deadline } from "./deadline.ts"
import { lastWordsIn, mayBeLastWords } from "./lastWords.ts"

export interface Address {
  readonly host: string
  readonly port: number
  /** The socket in the file system. If it is set, `host` and `port` are not used. */
  readonly path: string | undefined
}

export class Wire {
  readonly #address: Address
  readonly #cancelMillis: number
  readonly #isEncrypted: boolean
  readonly #died: () => void
  #socket: Socket | undefined = undefined
  #isClosed = false
  #reason: string | undefined = undefined
  readonly #cancels = new Set<Socket>()
  #deadline: Deadline | undefined = undefined
  #isDoubtful = false
  /** What came last, if it may say why the session ends. PgBouncer says something itself after the last words of its server. */
  #last: Uint8Array | undefined = undefined
  #beforeLast: Uint8Array | undefined = undefined

  constructor(address: Address, cancelMillis: number, isEncrypted: boolean, died: () => void) {
    this.#address = address
    this.#cancelMillis = cancelMillis
    this.#isEncrypted = isEncrypted
    this.#died = died
  }

  /** Opens a socket for the driver: the first is that of the session, each later one cancels a statement. */
  readonly open = (): Socket => {
    const { host, path, port } = this.#address
    const socket = path === undefined
      ? connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 })
      : connect({ path })
    if (this.#socket === undefined) this.#own(socket)
    else this.#cancel(socket)
    return socket
  }

  /** Whether the socket of the session is open. A socket that was destroyed closes a moment later. */
  get isOpen(): boolean {
    return this.#socket !== undefined && !this.#isClosed && !this.#socket.destroyed && !this.#socket.readableEnded
  }

  /** Why the session has ended, if that is known. */
  get reason(): string | undefined {
    return this.#reason ?? (this.isOpen ? undefined : this.#lastWords)
  }

  /**
   * Whether a cancel is not known to have reached the server. It may still come, and would hit the next statement, so such a
   * session is not used again.
   */
  get isDoubtful(): boolean {
    return this.#isDoubtful
  }

  /** The statement on the wire has ended, and with it the deadline of its cancel. */
  settled(): void {
    if (this.#deadline === undefined) return
    this.#deadline.stop()
    this.#deadline = undefined
    if (this.#cancels.size > 0) this.#isDoubtful = true
  }

  destroy(reason: string): void {
    this.#reason ??= reason
    for (const socket of this.#cancels) socket.destroy()
    this.#socket?.destroy()
  }

  /** Notes why the server has ended the session, if it has said so. */
  explain(error: SqlError): void {
    if (sqlStateOf(error) !== undefined) this.#reason ??= error.message
  }

  /**
   * Waits until the server has closed its end, so that it no longer counts the session. If that does not happen within a
   * second, the socket is destroyed.
   */
  readonly close: Effect.Effect<void> = Effect.callback<void>((resume) => {
    const socket = this.#socket
    if (socket === undefined || this.#isClosed) return resume(Effect.void)
    const timer = setTimeout(() => this.destroy("it was closed"), closeMillis)
    // Nothing reads it any more, and its end is seen only by reading.
    socket.resume()
    socket.once("close", () => {
      clearTimeout(timer)
      resume(Effect.void)
    })
    return Effect.sync(() => {
      clearTimeout(timer)
      this.destroy("it was closed")
    })
  })

  /** Ends when the socket of the session is closed. */
  readonly closed: Effect.Effect<void> = Effect.callback<void>((resume) => {
    const socket = this.#socket
    if (socket === undefined || this.#isClosed) return resume(Effect.void)
    const done = () => resume(Effect.void)
    socket.once("close", done)
    return Effect.sync(() => socket.off("close", done))
  })

  #own(socket: Socket): void {
    this.#socket = socket
    // The driver drops what the server says when it ends a session during a statement. Encrypted, it cannot be read here.
    if (!this.#isEncrypted) this.#readLastWords(socket)
    socket.on("error", ({ message }) => {
      this.#reason ??= this.#lastWords ?? message
    })
    socket.once("close", () => {
      this.#reason ??= this.#lastWords
      this.#isClosed = true
      this.#deadline?.stop()
      for (const cancel of this.#cancels) cancel.destroy()
      this.#died()
    })
  }

  /** Notes what arrives. A second listener for data would cost each statement a twentieth of its time. */
  #readLastWords(socket: Socket): void {
    const push = socket.push.bind(socket)
    socket.push = (chunk: Uint8Array | null, encoding) => {
      if (chunk !== null) this.#note(chunk)
      return push(chunk, encoding)
    }
  }

  #note(chunk: Uint8Array): void {
    const mayBeLast = mayBeLastWords(chunk)
    this.#beforeLast = mayBeLast ? this.#last : undefined
    this.#last = mayBeLast ? chunk : undefined
  }

  get #lastWords(): string | undefined {
    for (const bytes of [this.#beforeLast, this.#last]) {
      const words = bytes && lastWordsIn(bytes)
      if (words !== undefined) return words
    }
    return undefined
  }

  #cancel(socket: Socket): void {
    this.#cancels.add(socket)
    // The server closes the connection once it has told the session.
    let isTold = false
    socket.once("end", () => {
      isTold = true
    })
    socket.on("error", () => {})
    socket.once("close", (hadError) => {
      this.#cancels.delete(socket)
      // Where TLS has taken the socket over, its end is not seen here.
      if (!isTold && (hadError || !this.#isEncrypted)) this.#isDoubtful = true
    })
    this.#deadline ??= new Deadline(
      this.#cancelMillis,
      () => this.destroy(`a statement was cancelled, but did not end within ${this.#cancelMillis} ms (cancelTimeout)`)
    )
  }
}

const closeMillis = 1000
