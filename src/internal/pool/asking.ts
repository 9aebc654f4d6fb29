/** Asks for a connection for a module of this library that ends the lease itself. */
import { Effect, Exit, type Fiber } from "effect"
import type { AcquireOptions } from "../../PoolConfig.ts"
import * as Calls from "../options/call.ts"
import { type Callers, LeaseEffect } from "./callers.ts"
import type { Asked } from "./door.ts"
import * as Lending from "./lending.ts"
import type { Work } from "./work.ts"

/** Takes an idle connection in the present step of a fiber. If there is none, `connection` joins the line. */
export const ask = <C, E>(
  callers: Callers<C, E>,
  work: Work<C>,
  fiber: Fiber.Fiber<unknown, unknown>,
  options: AcquireOptions | undefined
): Asked<C, E> => {
  const settings = callers.resolve(options)
  if (Calls.isRefused(settings)) return { connection: Effect.fail(settings), end: () => {} }
  const lease = new LeaseEffect<C, E, C, never, never>(callers, Exit.succeed, fiber, settings)
  return { connection: taken(callers, work, lease) ?? lease, end: (exit) => callers.end(lease, exit) }
}

const taken = <C, E>(
  { state }: Callers<C, E>,
  work: Work<C>,
  lease: LeaseEffect<C, E, C, never, never>
): Exit.Exit<C> | undefined => {
  work.assertOutside()
  if (!Lending.mayTake(state)) return undefined
  const isTaken = Lending.take(state, lease, work.now())
  // Read before the loop runs, in which a shutdown may take the connection back.
  const connection = lease.entry?.leased
  work.attend()
  return isTaken ? Exit.succeed(connection!) : undefined
}
