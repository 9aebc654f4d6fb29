/** A way to a SQLite database, brought to one of three shapes, so that each kind of work is written once for each. */
import type { Effect } from "effect"
import type { Item } from "./database.ts"

export interface SqliteContender<A> {
  readonly name: string
  readonly open: (filename: string) => Promise<A>
}

/** Reads rows by their keys. */
export type Reader = EffectReader | PromiseReader | SyncReader

interface AnyReader {
  readonly close: () => Promise<void>
}

export interface EffectReader extends AnyReader {
  readonly style: "effect"
  readonly read: (key: number) => Effect.Effect<Item, unknown>
}

export interface PromiseReader extends AnyReader {
  readonly style: "promise"
  readonly read: (key: number) => Promise<Item>
}

export interface SyncReader extends AnyReader {
  readonly style: "sync"
  readonly read: (key: number) => Item
}

/** Reads, and changes a row in a transaction that waits for something else before it commits. */
export type Client = EffectClient | PromiseClient

export interface EffectClient extends EffectReader {
  readonly write: (key: number, pause: Effect.Effect<void>) => Effect.Effect<void, unknown>
}

export interface PromiseClient extends PromiseReader {
  readonly write: (key: number, pause: () => Promise<unknown>) => Promise<void>
  /** Whether a write failed because of another. Default: none does. */
  readonly isBusy?: (error: unknown) => boolean
}

/** Reads and adds rows, each of them committed when its caller is answered. */
export type Service = EffectService | PromiseService | SyncService

interface AnyService {
  /** What `pragma synchronous` says on the connection that writes. */
  readonly synchronous: () => Promise<unknown>
}

export interface EffectService extends EffectReader, AnyService {
  readonly insert: (n: number) => Effect.Effect<unknown, unknown>
}

export interface PromiseService extends PromiseReader, AnyService {
  readonly insert: (n: number) => Promise<unknown>
}

export interface SyncService extends SyncReader, AnyService {
  readonly insert: (n: number) => unknown
}

/** Effect's client, as a tracer sees it. */
export interface TracedClient extends EffectService {
  /** A transaction that adds a row and reads one. */
  readonly insertAndRead: (n: number, key: number) => Effect.Effect<Item, unknown>
}
