/**
 * The driver's own handle, lent for as long as one body runs.
 *
 * A library gets a stand-in for the `DatabaseSync`. It does what the real one does, with these exceptions: it is dead when
 * the body has ended, and so is all that it has given out; it cannot close the database; it cannot change what the
 * connection could not be made clean of; and what a library changes on the object itself, stays on the stand-in.
 */
import type { DatabaseSync } from "node:sqlite"

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
  /** Those that have not ended. A body may run for as long as its process. */
  readonly #iterators = new Set<Iterator<unknown>>()
  #hasEnded = false

  constructor(sqlite: DatabaseSync, lender: Lender) {
    this.#lender = lender
    this.database = this.#standIn(sqlite, "DatabaseSync")
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

  /**
   * An object that does what a real one does, until this ends. Methods of Node need the real object as `this`. The `Proxy` has
   * an object of its own, which keeps what a library sets, such as a method that traces calls.
   */
  #standIn<T extends object>(real: T, kind: Kind): T {
    const own = Object.create(Reflect.getPrototypeOf(real)) as T
    const known = new Map<string | symbol, unknown>()
    const { isMemory } = this.#lender
    const areNumbers = kind === "DatabaseSyncLimits"
    return new Proxy(own, {
      ownKeys: () => Reflect.ownKeys(areNumbers ? real : own),
      getOwnPropertyDescriptor: (_, name) => {
        const descriptor = Reflect.getOwnPropertyDescriptor(areNumbers ? real : own, name)
        return descriptor && { ...descriptor, configurable: true }
      },
      has: (_, name) => Reflect.has(real, name) || Reflect.has(own, name),
      set: (_, name, value, receiver) => {
        if (!areNumbers) return Reflect.set(own, name, value, receiver)
        this.#assert(kind, name)
        if (isMemory) throw new TypeError(`${kind}.${String(name)}: ${outlasts}`)
        return Reflect.set(real, name, value, real)
      },
      get: (_, name, standIn) => {
        this.#assert(kind, name)
        if (Object.hasOwn(own, name)) return Reflect.get(own, name, standIn) as unknown
        const value: unknown = Reflect.get(real, name, real)
        if (name === "constructor" || value === null || (typeof value !== "object" && typeof value !== "function")) {
          return value
        }
        if (!known.has(name)) {
          known.set(
            name,
            typeof value === "function"
              ? this.#method(real, kind, name, value as Method, standIn)
              : this.#member(kind, name, value)
          )
        }
        return known.get(name)
      }
    })
  }

  /** A method of `real`, on the `object` that stands in for it. */
  #method(real: object, kind: Kind, name: string | symbol, method: Method, object: unknown): Method {
    const why = kind === "DatabaseSync" ? whyRefused(name, this.#lender.isMemory) : undefined
    const given = givenBy[kind][name]
    return (...args) => {
      this.#assert(kind, name)
      if (why !== undefined) throw new TypeError(`${kind}.${String(name)}: ${why}`)
      if (name === Symbol.iterator) return object
      // Methods that all iterators have, such as `map` and `toArray`, work on the stand-in.
      const result = Reflect.apply(method, kind === "Iterator" && !iterates.has(name) ? object : real, args)
      if (kind === "Iterator" && (result as IteratorResult<unknown>).done === true) {
        this.#iterators.delete(real as Iterator<unknown>)
      }
      if (given === undefined) return result
      if (given === "Iterator") this.#iterators.add(result as Iterator<unknown>)
      return this.#standIn(result as object, given)
    }
  }

  #member(kind: Kind, name: string | symbol, value: object): object {
    if (kind === "SQLTagStore" && name === "db") return this.database
    return kind === "DatabaseSync" && name === "limits" ? this.#standIn(value, "DatabaseSyncLimits") : value
  }

  #assert(kind: Kind, name: string | symbol): void {
    const operation = `${kind}.${String(name)}`
    this.#lender.assert(operation)
    if (this.#hasEnded) throw new TypeError(`${operation}: the body that this handle was lent to has ended`)
  }
}

type Method = (...args: Array<unknown>) => unknown

type Kind = "DatabaseSync" | "DatabaseSyncLimits" | "Iterator" | "SQLTagStore" | "Session" | "StatementSync"

/** The kinds of the objects that methods return. */
const givenBy: { readonly [kind in Kind]: { readonly [method: string | symbol]: Kind } } = {
  DatabaseSync: { prepare: "StatementSync", createSession: "Session", createTagStore: "SQLTagStore" },
  DatabaseSyncLimits: {},
  Iterator: {},
  SQLTagStore: { iterate: "Iterator" },
  Session: {},
  StatementSync: { iterate: "Iterator" }
}

/** The methods of an iterator of rows. */
const iterates: ReadonlySet<string | symbol> = new Set(["next", "return", "throw"])

/** Why a method is refused; `undefined` if it is allowed. */
const whyRefused = (name: string | symbol, isMemory: boolean): string | undefined => {
  if (never.has(name)) return "the connection belongs to the pool, which needs it as it is"
  if (isMemory && notInMemory.has(name)) {
    return outlasts
  }
  return undefined
}

const outlasts =
  "a database in memory cannot be opened again, so this would outlast the lease: use the options of the pool"

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
