/** Takes a connection for a module of this library that ends the lease itself, in one step of a fiber. */
import type { Fiber } from "effect"
import type { AcquireOptions } from "../../PoolConfig.ts"
import * as Calls from "../options/call.ts"
import { type Callers, LeaseEffect } from "./callers.ts"
import type { Taken } from "./door.ts"
import * as Lending from "./lending.ts"
import type { Work } from "./work.ts"

/** Takes an idle connection. Returns `undefined` if the caller would have to wait, or would be refused. */
export const take = <C, E>(
  callers: Callers<C, E>,
  work: Work<C>,
  fiber: Fiber.Fiber<unknown, unknown>,
  options: AcquireOptions | undefined
): Taken<C> | undefined => {
  const { state } = callers
  work.assertOutside()
  if (!Lending.mayTake(state)) return undefined
  const settings = callers.resolve(options)
  if (Calls.isRefused(settings)) return undefined
  const lease = new LeaseEffect<C, E, C, never, never>(callers, undefined, fiber, settings)
  const isTaken = Lending.take(state, lease, work.now())
  // Read before the loop runs, in which a shutdown may take the connection back.
  const connection = lease.entry?.leased
  work.attend()
  return isTaken ? { connection: connection!, end: (exit) => callers.end(lease, exit) } : undefined
}
