// Asks for what is new, once in each interval while the page can be seen, and shows it.

/** What the page knows. It is replaced when the inspector was started anew. */
interface Known {
  readonly frames: Array<Frame>
  readonly happenings: Array<Happening>
  /** Why connections were evicted, by pool and connection. */
  readonly reasons: ReadonlyArray<Map<number, string>>
  last: Answer
}

let known: Known | undefined
let chosen = 0
let isFrozen = false
let isAsking = false
let failures = 0
let timer = 0

/** A server that does not answer for so long is down, or cannot be reached any more. */
const answerTimeoutMillis = 30_000

/** The path of the page, with whatever prefix the application gives it. */
const base = location.pathname.replace(/\/+$/, "")

const ask = async (): Promise<void> => {
  // Two answers to one question would show everything twice.
  if (isAsking) return
  isAsking = true
  const control = new AbortController()
  const timeout = setTimeout(() => control.abort(new Error("none came in 30 seconds")), answerTimeoutMillis)
  const seen = known === undefined
    ? ""
    : `?instance=${known.last.instance}&frame=${known.frames.at(-1)?.number ?? 0}&happening=${
      known.happenings.at(-1)?.number ?? 0
    }`
  try {
    const response = await fetch(`${base}/events${seen}`, { cache: "no-store", signal: control.signal })
    if (!response.ok) {
      throw new Error(
        `the server answers ${response.status}${
          response.status === 401 || response.status === 403 ? ": you may not see this" : ""
        }`
      )
    }
    learn(await response.json() as Answer)
    failures = 0
    if (!isFrozen) show()
  } catch (error) {
    failures++
    say(`No answer, ${error instanceof Error ? error.message : "for an unknown reason"}. It is asked again.`, true)
  }
  clearTimeout(timeout)
  isAsking = false
  later()
}

const later = (): void => {
  clearTimeout(timer)
  if (document.hidden) return
  const interval = known?.last.intervalMillis ?? 1000
  const isBehind = failures === 0 && known?.last.hasMore === true
  timer = setTimeout(ask, isBehind ? 0 : Math.min(30_000, interval * 2 ** Math.min(failures, 5)))
}

const learn = (answer: Answer): void => {
  if (known === undefined || known.last.instance !== answer.instance) {
    known = { frames: [], happenings: [], reasons: answer.pools.map(() => new Map()), last: answer }
    chosen = Math.min(chosen, Math.max(0, answer.pools.length - 1))
    byId("sizes").replaceChildren()
  }
  known.last = answer
  known.frames.push(...answer.frames)
  known.happenings.push(...answer.happenings)
  for (const { connection, evictReason, pool } of answer.happenings) {
    if (connection !== undefined && evictReason !== undefined) known.reasons[pool]?.set(connection, evictReason)
  }
  const oldest = answer.at - answer.historyMillis
  const isNew = known.frames.findIndex(({ at }) => at >= oldest)
  known.frames.splice(0, isNew < 0 ? 0 : isNew)
  known.happenings.splice(0, known.happenings.length - 1000)
  forget(known)
}

/** Forgets the connections that are in no frame any more. */
const forget = ({ frames, reasons }: Known): void => {
  for (const [pool, evicted] of reasons.entries()) {
    if (evicted.size < 1000) continue
    const drawn = new Set(frames.flatMap(({ pools }) => pools[pool]?.lanes.map(({ id }) => id) ?? []))
    for (const id of evicted.keys()) if (!drawn.has(id)) evicted.delete(id)
  }
}

const say = (text: string, isProblem: boolean): void => {
  const status = byId("status")
  // A screen reader reads what has changed, and must not read once in each second.
  if (status.textContent !== text) status.textContent = text
  status.className = isProblem ? "problem" : ""
}

const show = (): void => {
  if (known === undefined) return
  const { frames, happenings, last, reasons } = known
  const view = last.pools[chosen]
  say(isFrozen ? "Frozen. The pools go on." : `Live, of the last ${millisText(last.historyMillis)}.`, false)
  showPools(last.pools, chosen, choose)
  byId("pool").hidden = view === undefined
  if (view !== undefined) {
    showNumbers(view)
    showLanes(frames, chosen, view, reasons[chosen] ?? new Map())
    showLoad(frames, chosen)
    showHolders(view)
    showStatements(view)
    byId("actions").hidden = !last.canAct
  }
  showHealth(last)
  showDatabases(last)
  showMaps(last)
  showEvents(happenings, chosen)
}

const choose = (pool: number): void => {
  chosen = pool
  byId("sizes").replaceChildren()
  byId("action-result").textContent = ""
  const stats = known?.last.pools[pool]?.stats
  if (stats !== undefined) fillResize(stats.min, stats.max)
  show()
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
  try {
    const response = await fetch(`${base}/sizes?pool=${chosen}`, { cache: "no-store" })
    showSizes(await response.json() as Sizes)
  } catch {
    byId("sizes").replaceChildren(make("p", {}, "No answer."))
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
  for (const id of ["all-events", "this-pool"]) byId(id).addEventListener("change", show)
  for (const button of document.querySelectorAll<HTMLButtonElement>("[data-action]")) {
    button.addEventListener("click", () => {
      const name = known?.last.pools[chosen]?.name
      const action = button.dataset["action"] as "pause"
      if (name !== undefined) void act({ action, pool: chosen, name })
    })
  }
  byId("resize").addEventListener("submit", (event) => {
    event.preventDefault()
    const data = new FormData(event.target as HTMLFormElement)
    const name = known?.last.pools[chosen]?.name
    if (name !== undefined) {
      void act({ action: "resize", pool: chosen, name, min: Number(data.get("min")), max: Number(data.get("max")) })
    }
  })
  document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : void ask())
  addEventListener("resize", show)
  void ask().then(() => choose(chosen))
}

start()
