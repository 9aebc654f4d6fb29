/** The operations of the connection itself, in the thread: see `Controls`. */
import type { Handle } from "../connection/handle.ts"
import * as Refusal from "../connection/refusal.ts"
import { closed, readOnlyRefusal } from "../failures.ts"
import { encodeFailure } from "./failureData.ts"
import type { ControlName, ControlRequest, Controls, State } from "./protocol.ts"

export class Controller {
  readonly #open: (isFirst: boolean) => Handle
  #handle: Handle | undefined = undefined
  #isClosed = false
  readonly #controls: { readonly [Name in ControlName]: Controls[Name] } = {
    open: (isFirst, isPrepared) => {
      // An attempt that met a lock is repeated with the same file.
      this.#handle ??= this.#open(isFirst)
      this.#configure(isPrepared)
    },
    loadExtension: (path) => this.handle.loadExtension("loadExtension", path),
    endOpening: () => this.handle.endOpening(),
    exec: (operation, script, done) => {
      const progress = { done }
      try {
        this.handle.exec(operation, script, progress)
        return { done: progress.done, failure: undefined }
      } catch (thrown) {
        return { done: progress.done, failure: encodeFailure(thrown, operation) }
      }
    },
    begin: (isolation) => {
      const sql = `begin ${isolation}`
      const { settings } = this.handle
      // SQLite would begin a transaction that cannot write.
      if (settings.isReadOnly) throw readOnlyRefusal("begin", sql, settings.refusal ?? Refusal.ofConnection)
      this.handle.run("begin", sql, undefined, false)
    },
    beginReadOnly: (why) => {
      const { handle } = this
      handle.run("begin", "begin", undefined, false)
      try {
        handle.rows("begin", "pragma schema_version", undefined, true, false)
        handle.restrict("begin", why)
      } catch (thrown) {
        handle.rollback("begin")
        throw thrown
      }
    },
    commit: () => this.#end("commit"),
    rollback: (operation) => {
      this.handle.closeCursors()
      this.handle.rollback(operation)
    },
    savepoint: (operation, sql) => void this.handle.run(operation, sql, undefined, false),
    isTransaction: () => this.handle.isTransaction("isTransaction"),
    reset: (isPrepared) => {
      const { handle } = this
      handle.closeCursors()
      handle.rollback("reset")
      if (!handle.session.isAltered) return false
      if (handle.settings.isMemory) {
        handle.session.undo()
        return false
      }
      handle.reopen()
      this.#configure(isPrepared)
      return true
    },
    close: () => {
      this.#isClosed = true
      this.#handle?.close()
    }
  }

  constructor(open: (isFirst: boolean) => Handle) {
    this.#open = open
  }

  /** Whether the connection was closed, so that nothing is left to do. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  get handle(): Handle {
    if (this.#handle === undefined) throw closed("open")
    return this.#handle
  }

  run({ name, params }: ControlRequest): unknown {
    return (this.#controls[name] as (...params: ReadonlyArray<unknown>) => unknown)(...params)
  }

  get state(): State {
    const handle = this.#handle
    if (handle === undefined) return notOpen
    return {
      isUsable: handle.isUsable,
      needsReset: handle.needsReset,
      isTransaction: handle.units.isIntact,
      isPinning: handle.isPinning
    }
  }

  #configure(isPrepared: boolean): void {
    const { handle } = this
    handle.configure()
    if (isPrepared) handle.session.beginOpening()
    else handle.endOpening()
  }

  #end(statement: "commit" | "rollback"): void {
    const { handle } = this
    handle.closeCursors()
    handle.restrict(statement, undefined)
    handle.run(statement, statement, undefined, false)
    handle.session.resumeForeignKeys()
  }
}

const notOpen: State = { isUsable: false, needsReset: false, isTransaction: false, isPinning: false }
