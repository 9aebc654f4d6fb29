// Asks for what is new, once in each interval while the page can be seen, and shows it.

/** What the page knows. It is replaced when the inspector was started anew. */
interface Known {
  /** The pool that the frames are of. */
  readonly pool: number
  readonly frames: Array<Frame>
  readonly happenings: Array<Happening>
  /** Why connections were evicted, by pool and connection. */
  readonly reasons: Map<number, Map<number, string>>
  readonly last: Answer
}

let known: Known | undefined
let chosen = 0
/** From which pool on the row of pools lists them, if there are many; and the pools of each map. */
let poolsFrom = 0
const mapsFrom = new Map<number, number>()
let isFrozen = false
let isAsking = false
/** Whether the user has asked for something else than the last question has. */
let isChanged = false
let failures = 0
let timer = 0

/** A server that does not answer for so long is down, or cannot be reached any more. */
const answerTimeoutMillis = 30_000

/** The path of the page, with whatever prefix the application gives it. */
const base = location.pathname.replace(/\/+$/, "")

/** The question for what is new, and for what the user wants to see. */
const questionOf = (): string => {
  const params = new URLSearchParams({ pool: String(chosen) })
  if (known !== undefined) {
    params.set("instance", known.last.instance)
    params.set("frame", String(known.pool === chosen ? known.frames.at(-1)?.number ?? 0 : 0))
    params.set("happening", String(known.happenings.at(-1)?.number ?? 0))
  }
  const find = byId<HTMLInputElement>("find").value.trim()
  if (find !== "") params.set("find", find)
  if (poolsFrom > 0) params.set("from", String(poolsFrom))
  for (const [map, from] of mapsFrom) if (from > 0) params.set(`map${map}`, String(from))
  return params.toString()
}

const ask = async (): Promise<void> => {
  // Two answers to one question would show everything twice.
  if (isAsking) return
  isAsking = true
  clearTimeout(timer)
  const control = new AbortController()
  const timeout = setTimeout(() => control.abort(new Error("none came in 30 seconds")), answerTimeoutMillis)
  const isNew = isChanged
  isChanged = false
  try {
    const response = await fetch(`${base}/events?${questionOf()}`, { cache: "no-store", signal: control.signal })
    if (!response.ok) {
      throw new Error(
        `the server answers ${response.status}${
          response.status === 401 || response.status === 403 ? ": you may not see this" : ""
        }`
      )
    }
    learn(await response.json() as Answer)
    failures = 0
    if (!isFrozen || isNew) show(isNew)
  } catch (error) {
    failures++
    say(`No answer, ${error instanceof Error ? error.message : "for an unknown reason"}. It is asked again.`, true)
  }
  clearTimeout(timeout)
  isAsking = false
  later()
}

/** Asks at once, because the user wants to see something else. */
const askNow = (): void => {
  isChanged = true
  void ask()
}

const later = (): void => {
  clearTimeout(timer)
  if (document.hidden) return
  const interval = known?.last.intervalMillis ?? 1000
  const isBehind = failures === 0 && (isChanged || known?.last.hasMore === true)
  timer = setTimeout(ask, isBehind ? 0 : Math.min(30_000, interval * 2 ** Math.min(failures, 5)))
}

const learn = (answer: Answer): void => {
  const isSame = known !== undefined && known.last.instance === answer.instance
  const happenings: Array<Happening> = isSame ? known!.happenings : []
  const reasons: Known["reasons"] = isSame ? known!.reasons : new Map()
  const frames: Array<Frame> = isSame && known!.pool === answer.chosen ? known!.frames : []
  frames.push(...answer.frames)
  happenings.push(...answer.happenings)
  for (const { connection, evictReason, pool } of answer.happenings) {
    if (connection !== undefined && evictReason !== undefined) note(reasons, pool, connection, evictReason)
  }
  const oldest = answer.at - answer.historyMillis
  const isNew = frames.findIndex(({ at }) => at >= oldest)
  frames.splice(0, isNew < 0 ? 0 : isNew)
  happenings.splice(0, happenings.length - 1000)
  if (!isSame) byId("sizes").replaceChildren()
  known = { pool: answer.chosen, frames, happenings, reasons, last: answer }
  // What the user wants to see may be something else by now.
  if (!isChanged) {
    poolsFrom = answer.poolsFrom
    for (const { from, index } of answer.maps) mapsFrom.set(index, from)
  }
  // The inspector that was started anew may have fewer pools.
  if (chosen >= answer.poolCount && chosen > 0) {
    chosen = 0
    isChanged = true
  }
}

/** Notes why a connection was evicted, and forgets the oldest of many. */
const note = (reasons: Known["reasons"], pool: number, connection: number, reason: string): void => {
  const its = reasons.get(pool) ?? new Map<number, string>()
  reasons.set(pool, its.set(connection, reason))
  if (its.size > 1000) its.delete(its.keys().next().value!)
}

const say = (text: string, isProblem: boolean): void => {
  const status = byId("status")
  // A screen reader reads what has changed, and must not read once in each second.
  if (status.textContent !== text) status.textContent = text
  status.className = isProblem ? "problem" : ""
}

/** `isNew` says whether the user has asked for something else than what is shown. */
const show = (isNew = false): void => {
  if (known === undefined) return
  const { frames, happenings, last, reasons } = known
  say(isFrozen ? "Frozen. The pools go on." : `Live, of the last ${millisText(last.historyMillis)}.`, false)
  showPools(last, chosen, choose, isNew)
  // The answer may be one to an earlier question. Then the right one comes soon.
  if (last.chosen === chosen) showPool(last, frames, reasons.get(chosen) ?? new Map())
  showHealth(last)
  showDatabases(last)
  showHosts(last)
  showMaps(last, turnTo)
  showEvents(happenings, chosen)
}

/** The pool for which the sizes were filled in. */
let filled: number | undefined

const showPool = (
  { canAct, pool }: Answer,
  frames: ReadonlyArray<Frame>,
  reasons: ReadonlyMap<number, string>
): void => {
  byId("pool").hidden = pool === undefined
  if (pool === undefined) return
  showNumbers(pool)
  showLanes(frames, reasons)
  showLoad(frames)
  showHolders(pool)
  showStatements(pool)
  byId("actions").hidden = !canAct
  if (filled === chosen) return
  filled = chosen
  fillResize(pool.stats.min, pool.stats.max)
}

const choose = (pool: number): void => {
  if (pool === chosen) return
  chosen = pool
  byId("sizes").replaceChildren()
  byId("action-result").textContent = ""
  show()
  askNow()
}

/** Lists the pools of a map from this one on. */
const turnTo = (map: number, from: number): void => {
  mapsFrom.set(map, Math.max(0, from))
  askNow()
}

/** Lists the pools from this one on. */
const turnPoolsTo = (from: number): void => {
  poolsFrom = Math.max(0, from)
  askNow()
}

const fillResize = (min: number, max: number): void => {
  const form = byId<HTMLFormElement>("resize")
  form.querySelector<HTMLInputElement>("[name=min]")!.value = String(min)
  form.querySelector<HTMLInputElement>("[name=max]")!.value = String(max)
}

const simulate = async (): Promise<void> => {
  const button = byId<HTMLButtonElement>("simulate")
  button.disabled = true
  button.textContent = "Simulating…"
  const pool = chosen
  try {
    const response = await fetch(`${base}/sizes?pool=${pool}`, { cache: "no-store" })
    const sizes = await response.json() as Sizes
    // The user may look at another pool by now.
    if (pool === chosen) showSizes(sizes)
  } catch {
    if (pool === chosen) byId("sizes").replaceChildren(make("p", {}, "No answer."))
  }
  button.disabled = false
  button.textContent = "Simulate"
}

/** Asks the user, then the server. */
const act = async (action: Action): Promise<void> => {
  if (!await isConfirmed(`${verbs[action.action]} the pool ${action.name}?`)) return
  const result = byId("action-result")
  try {
    const response = await fetch(`${base}/actions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(action)
    })
    const text = await response.text()
    result.textContent = response.headers.get("content-type")?.startsWith("application/json")
      ? Object.values(JSON.parse(text) as Record<string, string>).join(" ")
      : `the server answers ${response.status}`
  } catch {
    result.textContent = "No answer: look at the pool before you try again."
  }
}

const verbs = {
  pause: "Callers will wait until it is resumed. Pause",
  resume: "Resume",
  recycle: "Every connection will be closed, those in use when they come back. Replace the connections of",
  check: "Check the idle connections of",
  resize: "Resize"
}

const isConfirmed = (text: string): Promise<boolean> => {
  const dialog = byId<HTMLDialogElement>("confirm")
  byId("confirm-text").textContent = text
  dialog.returnValue = "no"
  dialog.showModal()
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true })
  })
}

const start = (): void => {
  showLegend()
  byId("freeze").addEventListener("click", () => {
    isFrozen = !isFrozen
    byId("freeze").setAttribute("aria-pressed", String(isFrozen))
    show()
  })
  byId("simulate").addEventListener("click", () => void simulate())
  for (const id of ["all-events", "this-pool"]) byId(id).addEventListener("change", () => show())
  for (const [id, direction] of [["pools-before", -1], ["pools-after", 1]] as const) {
    const button = byId(id)
    button.addEventListener("click", () => {
      if (isEnabled(button)) turnPoolsTo(poolsFrom + direction * mostRows)
    })
  }
  byId("find").addEventListener("input", () => turnPoolsTo(0))
  byId("more-pools").addEventListener("submit", (event) => event.preventDefault())
  for (const button of document.querySelectorAll<HTMLButtonElement>("[data-action]")) {
    button.addEventListener("click", () => {
      const action = button.dataset["action"] as "pause"
      if (known?.last.pool !== undefined) void act({ action, pool: known.last.chosen, name: known.last.pool.name })
    })
  }
  byId("resize").addEventListener("submit", (event) => {
    event.preventDefault()
    const data = new FormData(event.target as HTMLFormElement)
    if (known?.last.pool === undefined) return
    const { chosen: pool, pool: { name } } = known.last
    void act({ action: "resize", pool, name, min: Number(data.get("min")), max: Number(data.get("max")) })
  })
  document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : void ask())
  addEventListener("resize", () => show())
  void ask()
}

start()
