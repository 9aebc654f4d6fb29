/** The operations of the connection itself, in the thread: see `Controls`. */
import { type Census, newViolations } from "../connection/foreignKeys.ts"
import type { Handle } from "../connection/handle.ts"
import { type Collected, haveOthersCommitted } from "../connection/observed.ts"
import * as Transactions from "../connection/transactions.ts"
import { closed } from "../failures.ts"
import { everything, type Reads } from "../sql/tables.ts"
import { runBatch } from "./batch.ts"
import { encodeFailure } from "./failureData.ts"
import type { ControlName, ControlRequest, Controls, Executed, LeaveRequest, State } from "./protocol.ts"

export class Controller {
  readonly #open: (isFirst: boolean) => Handle
  #handle: Handle | undefined = undefined
  #isClosed = false
  #isInDoubt = false
  /** Whether it was opened once. It may be opened anew. */
  #hasOpened = false
  #collected: Collected | undefined = undefined
  /** The violations of foreign keys before the present transaction, if it has them off. */
  #before: Census | undefined = undefined
  readonly #controls: { readonly [Name in ControlName]: Controls[Name] } = {
    open: (isFirst, isPrepared) => {
      // An attempt that met a lock is repeated with the same file.
      this.#handle ??= this.#open(isFirst)
      this.#configure(isPrepared)
    },
    loadExtension: (path) => this.handle.loadExtension("loadExtension", path),
    endOpening: () => this.#endOpening(),
    exec: (operation, script, done) => this.exec(operation, script, done),
    begin: (beginning) => {
      this.#forget()
      this.#before = Transactions.begin(this.handle, beginning)
    },
    commit: () => {
      const { handle } = this
      if (this.#before !== undefined) {
        const found = newViolations(handle, this.#before)
        if (found.count > 0) return found
      }
      // Before the commit, which does a checkpoint if one is due.
      handle.session.endBulk()
      Transactions.end(handle, "commit")
      return undefined
    },
    rollback: () => {
      const { handle } = this
      this.#forget()
      handle.closeCursors()
      // SQLite ends a transaction by itself after some failures.
      handle.rollback("rollback")
      handle.session.resumeForeignKeys()
    },
    savepoint: (verb, depth) => this.#savepoint(verb, depth),
    undo: (depth) => {
      const { handle } = this
      // SQLite ends a transaction by itself after some failures.
      if (!handle.units.isIntact) return
      try {
        this.#savepoint("rollback to", depth)
        this.#savepoint("release", depth)
      } catch (thrown) {
        // Nobody may wait for this, so what cannot be undone alone is undone with all the rest.
        handle.closeCursors()
        handle.rollback("rollback")
        throw thrown
      }
    },
    batch: (sql, rows, cacheSize) => {
      const { handle } = this
      // Without the option the cache stays as it is: no event loop waits for the commit here.
      if (cacheSize !== undefined) handle.session.beginBulk(cacheSize)
      return runBatch(handle, sql, rows)
    },
    collect: () => {
      this.#collected = this.handle.observed.collect()
    },
    reads: () => {
      const collected = this.#collected
      this.#collected = undefined
      return collected === undefined ? everything : this.#readsOf(collected)
    },
    readsOf: (sql) => {
      const { handle } = this
      const collected = handle.observed.collect()
      try {
        handle.prepare("observe", sql, true)
        handle.recorder.end()
      } catch {
        // Another process has changed the schema.
        handle.observed.forget(collected)
        return everything
      }
      return this.#readsOf(collected)
    },
    isTransaction: () => this.handle.isTransaction("isTransaction"),
    reset: (isPrepared) => {
      const { handle } = this
      this.#forget()
      handle.closeCursors()
      handle.rollback("reset")
      handle.session.resumeForeignKeys()
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

  /** Runs a script after its first `done` characters, until `isStopped` between two of its statements. */
  exec(operation: string, script: string, done: number, isStopped?: () => boolean): Executed {
    const progress = { done, isStopped }
    try {
      this.handle.exec(operation, script, progress)
      return { done: progress.done, failure: undefined }
    } catch (thrown) {
      return { done: progress.done, failure: encodeFailure(thrown, operation) }
    }
  }

  /** From now on, the connection counts as unusable, so that the pool closes it. */
  doubt(): void {
    this.#isInDoubt = true
  }

  /** Closes the file without writing to the one that is at the path now. */
  leave(log: LeaveRequest["log"]): void {
    const handle = this.#handle
    this.#isClosed = true
    if (handle === undefined) return
    handle.leave(log)()
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
      isUsable: handle.isUsable && !this.#isInDoubt,
      needsReset: handle.needsReset,
      isTransaction: handle.units.isIntact,
      isPinning: handle.isPinning
    }
  }

  #configure(isPrepared: boolean): void {
    const { handle } = this
    handle.configure()
    if (isPrepared) handle.session.beginOpening()
    else this.#endOpening()
  }

  #endOpening(): void {
    const { handle } = this
    handle.endOpening()
    if (this.#hasOpened || handle.settings.isReadOnly) return
    this.#hasOpened = true
    // The first answer is yes. From now on, it is about the commits of others.
    haveOthersCommitted(handle.observed)
  }

  #readsOf(collected: Collected): Reads {
    try {
      return this.handle.observed.reads(collected)
    } catch {
      // Another process has changed the schema, or has a lock. Then every commit counts until the next run.
      return everything
    }
  }

  /** Stops noting what statements read. */
  #forget(): void {
    if (this.#collected !== undefined) this.handle.observed.forget(this.#collected)
    this.#collected = undefined
  }

  #savepoint(verb: "savepoint" | "release" | "rollback to", depth: number): void {
    const operation = verb === "rollback to" ? "rollback" : verb
    this.handle.run(operation, `${verb} ${Transactions.savepointAt(depth)}`, undefined, false)
  }
}

const notOpen: State = { isUsable: false, needsReset: false, isTransaction: false, isPinning: false }
