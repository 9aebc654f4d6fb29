/**
 * The smallest pools that are correct under interruption, written in several ways with Effect. They show what can be
 * reached. Each installs the end of a lease before the lease begins, because an interrupt between the two would lose
 * the connection.
 */
import { Cause, Effect, Effectable, Exit } from "effect"
import assert from "node:assert/strict"
import type { Contender, EffectPool, OpenOptions } from "./contender.ts"
import { type Caller, FloorCore } from "./floorCore.ts"
import { type Connection, Ledger, type Lent } from "./ledger.ts"
import { touching } from "./touching.ts"

type Body = (lent: Lent) => Effect.Effect<void>
type Doors = Pick<EffectPool, "touch" | "use">

const timedOut = () => Effect.fail(new Cause.TimeoutError())

/** The operations of a floor, on a core with this number of connections. */
const floor = (name: string, doors: (core: FloorCore) => Doors): Contender => ({
  name: `floor: ${name}`,
  open: async ({ acquireTimeoutMillis, size }: OpenOptions) => {
    const ledger = new Ledger()
    const core = new FloorCore(Array.from({ length: size }, ledger.connect), acquireTimeoutMillis)
    return {
      style: "effect",
      ledger,
      ...doors(core),
      isTimeout: Cause.isTimeoutError,
      close: async () => {
        assert.equal(core.idle.length, size, "the floor has lost a connection")
        core.close()
        ledger.check()
      }
    }
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// Closures
// ---------------------------------------------------------------------------------------------------------------------

const closures = (core: FloorCore, body: Body): Effect.Effect<void, Cause.TimeoutError> =>
  Effect.suspend(() => {
    let go: ((effect: Effect.Effect<void, Cause.TimeoutError>) => void) | undefined
    const caller: Caller = {
      connection: undefined,
      isWaiting: false,
      previous: undefined,
      next: undefined,
      dueAt: 0,
      resume: () => go!(Effect.suspend(() => body(caller.connection!))),
      expire: () => go!(timedOut())
    }
    return Effect.onExitPrimitive(
      Effect.suspend(() => {
        caller.connection = core.take()
        if (caller.connection !== undefined) return body(caller.connection)
        return Effect.callback<void, Cause.TimeoutError>((resume) => {
          go = resume
          core.join(caller)
        })
      }),
      () => {
        core.end(caller)
        return undefined
      }
    )
  })

export const floorClosures = floor("closures", (core) => ({
  touch: () => closures(core, touching),
  use: (body) => closures(core, body)
}))

// ---------------------------------------------------------------------------------------------------------------------
// A primitive: the caller is an effect itself
// ---------------------------------------------------------------------------------------------------------------------

const Base = function() {} as unknown as new() => Effect.Effect<void, Cause.TimeoutError>

Base.prototype = Effectable.Prototype<Primitive>({
  label: "Floor",
  evaluate() {
    return this.step()
  }
})

/** An effect that its own method evaluates, instead of a chain of effects. */
abstract class Primitive extends Base {
  abstract step(): Effect.Effect<void, Cause.TimeoutError>
}

class Use extends Primitive {
  readonly #core: FloorCore
  readonly #body: Body

  constructor(core: FloorCore, body: Body) {
    super()
    this.#core = core
    this.#body = body
  }

  step(): Effect.Effect<void, Cause.TimeoutError> {
    const lease = new Lease(this.#core, this.#body)
    return Effect.onExitPrimitive(lease, () => {
      this.#core.end(lease)
      return undefined
    })
  }
}

class Lease extends Primitive implements Caller {
  connection: Connection | undefined = undefined
  isWaiting = false
  previous: Caller | undefined = undefined
  next: Caller | undefined = undefined
  dueAt = 0
  readonly #core: FloorCore
  readonly #body: Body
  #go: ((effect: Effect.Effect<void, Cause.TimeoutError>) => void) | undefined = undefined

  constructor(core: FloorCore, body: Body) {
    super()
    this.#core = core
    this.#body = body
  }

  step(): Effect.Effect<void, Cause.TimeoutError> {
    // When it is evaluated again, it has got a connection during its wait.
    this.connection ??= this.#core.take()
    if (this.connection !== undefined) return this.#body(this.connection)
    return Effect.callback<void, Cause.TimeoutError>((resume) => {
      this.#go = resume
      this.#core.join(this)
    })
  }

  resume(): void {
    this.#go!(this)
  }

  expire(): void {
    this.#go!(timedOut())
  }
}

export const floorPrimitive = floor("primitive", (core) => ({
  touch: () => new Use(core, touching),
  use: (body) => new Use(core, body)
}))

// ---------------------------------------------------------------------------------------------------------------------
// A primitive whose body is synchronous: it needs no finalizer
// ---------------------------------------------------------------------------------------------------------------------

class UseSync extends Primitive {
  readonly #core: FloorCore
  readonly #body: (lent: Lent) => void

  constructor(core: FloorCore, body: (lent: Lent) => void) {
    super()
    this.#core = core
    this.#body = body
  }

  step(): Effect.Effect<void, Cause.TimeoutError> {
    const connection = this.#core.take()
    if (connection === undefined) {
      return new Use(this.#core, (lent) => {
        this.#body(lent)
        return Effect.void
      })
    }
    try {
      this.#body(connection)
      return Exit.void
    } finally {
      this.#core.give(connection)
    }
  }
}

export const floorSync = floor("sync", (core) => ({
  touch: () =>
    new UseSync(core, (lent) => {
      lent.enter()
      lent.leave()
    }),
  use: (body) => new Use(core, body)
}))

// ---------------------------------------------------------------------------------------------------------------------
// For one caller only: no line
// ---------------------------------------------------------------------------------------------------------------------

const alone = (use: (core: FloorCore, body: Body) => Effect.Effect<void>) => (core: FloorCore): Doors => ({
  touch: () => use(core, touching),
  use: (body) => use(core, body)
})

export const floorAcquireUseRelease = floor(
  "acquireUseRelease",
  alone((core, body) =>
    Effect.acquireUseRelease(
      Effect.sync(() => core.take()!),
      body,
      (connection) => Effect.sync(() => core.give(connection))
    )
  )
)

/** No pool: the cost of a finalizer alone. */
export const floorFinalizer = floor(
  "suspend, onExit",
  alone((core, body) => Effect.suspend(() => Effect.onExitPrimitive(body(core.idle[0]!), () => undefined)))
)

/** No pool and no finalizer: the cost of the loop in which all of these run. */
export const floorLoop = floor("empty loop", alone((core, body) => body(core.idle[0]!)))

/** No pool, but a line: the cost of starting, suspending and resuming a fiber. */
export const floorFibers = floor("fibers only", (core) => {
  const waiting: Array<() => void> = []
  let holders = 0
  const [connection] = core.idle
  const touched = Effect.suspend(() => touching(connection!))
  return {
    touch: () =>
      Effect.callback<void>((resume) => {
        waiting.push(() => resume(touched))
      }),
    use: (body) =>
      Effect.suspend(() => {
        const held = core.idle[holders++]!
        return Effect.onExitPrimitive(body(held), () => {
          if (--holders === 0) { for (const resume of waiting.splice(0)) resume() }
          return undefined
        })
      })
  }
})
