/**
 * The driver's own handle, lent for as long as one body runs.
 *
 * A library gets a stand-in for the `DatabaseSync`. It does what the real one does, with three exceptions: it is dead when
 * the body has ended, and so are its statements; it cannot close the database; and it cannot change what the connection
 * could not be made clean of.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite"

/** What the stand-in asks of its lease. */
export interface Lender {
  /** Throws if the lease has ended, or if the connection may not be used now. */
  readonly assert: (operation: string) => void
  /** Whether the database is in memory, so that it cannot be closed and opened again. */
  readonly isMemory: boolean
}

export class Exposed {
  readonly database: DatabaseSync
  readonly #lender: Lender
  readonly #iterators = new Set<Iterator<unknown>>()
  #hasEnded = false

  constructor(sqlite: DatabaseSync, lender: Lender) {
    this.#lender = lender
    this.database = this.#standIn(sqlite, "DatabaseSync", (name, method) => {
      const why = whyRefused(name, lender.isMemory)
      if (why !== undefined) {
        return () => {
          throw new TypeError(`DatabaseSync.${String(name)}: ${why}`)
        }
      }
      return (...args) => {
        const result = Reflect.apply(method, sqlite, args)
        return name === "prepare" ? this.#statement(result as StatementSync) : result
      }
    })
  }

  /** Ends the stand-in, and everything that it has given out. */
  end(): void {
    this.#hasEnded = true
    for (const rows of this.#iterators) {
      try {
        rows.return?.()
      } catch {
        // The statement has ended already.
      }
    }
    this.#iterators.clear()
  }

  #statement(statement: StatementSync): StatementSync {
    return this.#standIn(statement, "StatementSync", (name, method) => (...args) => {
      const result = Reflect.apply(method, statement, args)
      if (name === "iterate") this.#iterators.add(result as Iterator<unknown>)
      return result
    })
  }

  /** An object that has the properties of another one, until this ends. Methods of Node need the real object as `this`. */
  #standIn<T extends object>(
    real: T,
    kind: string,
    methodOf: (name: string | symbol, method: Method) => Method
  ): T {
    const methods = new Map<string | symbol, Method>()
    const assert = (name: string | symbol) => this.#assert(`${kind}.${String(name)}`)
    return new Proxy(real, {
      get(_, name) {
        assert(name)
        const value: unknown = Reflect.get(real, name, real)
        if (typeof value !== "function" || name === "constructor") return value
        let method = methods.get(name)
        if (method === undefined) {
          const given = methodOf(name, value as Method)
          method = (...args) => {
            assert(name)
            return given(...args)
          }
          methods.set(name, method)
        }
        return method
      }
    })
  }

  #assert(operation: string): void {
    this.#lender.assert(operation)
    if (this.#hasEnded) throw new TypeError(`${operation}: the body that this handle was lent to has ended`)
  }
}

type Method = (...args: Array<unknown>) => unknown

/** Why a method is refused; `undefined` if it is allowed. */
const whyRefused = (name: string | symbol, isMemory: boolean): string | undefined => {
  if (never.has(name)) return "the connection belongs to the pool, which needs it as it is"
  if (isMemory && notInMemory.has(name)) {
    return "a database in memory cannot be opened again, so this would outlast the lease: use the options of the pool"
  }
  return undefined
}

const never: ReadonlySet<string | symbol> = new Set([
  "close",
  "deserialize",
  "enableDefensive",
  "open",
  "setAuthorizer",
  Symbol.dispose
])

const notInMemory: ReadonlySet<string | symbol> = new Set([
  "aggregate",
  "createSession",
  "createTagStore",
  "enableLoadExtension",
  "function",
  "loadExtension"
])
