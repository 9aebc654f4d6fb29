/** What a simulation does not know, as sentences for its user. */
import type { Settings } from "./options.ts"

export const limitsOf = ({ arrivals, outages, service, warmUp }: Settings): ReadonlyArray<string> => {
  const limits: Array<string> = []
  if (service.work === undefined) {
    limits.push(
      "A request takes as long with many connections in use as with few, unless service is a function that says " +
        "otherwise: locks, disks and processors of the database are not simulated."
    )
  } else {
    limits.push(
      `Work is done in order on ${
        service.threads === 1 ? "one thread" : `${service.threads} threads`
      }, in one piece for ` +
        "each request. What else the thread has to do is not simulated."
    )
  }
  if (arrivals._tag === "Poisson" || arrivals._tag === "Rates") {
    limits.push("Requests arrive independently of each other. Real ones come in bursts, and then wait for longer.")
  }
  limits.push("Nobody repeats a request that failed, and nobody stays away because of slow answers.")
  limits.push("The time that the pool, Effect and the network need is not simulated.")
  if (outages.length > 0) limits.push("An outage breaks all connections in one moment, and ends in one moment.")
  if (warmUp > 0) limits.push(`The first ${Math.round(warmUp * 100)} % were not counted: a cold start looks worse.`)
  return limits
}
