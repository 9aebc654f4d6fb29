// The numbers, tables and lists of the page.

const showPools = (pools: ReadonlyArray<PoolView>, chosen: number, choose: (pool: number) => void): void => {
  const nav = byId("pools")
  if (nav.childElementCount !== pools.length) {
    nav.replaceChildren(
      ...pools.map((_, index) => {
        const button = make("button", { type: "button" })
        button.addEventListener("click", () => choose(index))
        return button
      })
    )
  }
  for (const [index, { isOpen, isPaused, name, stats }] of pools.entries()) {
    const button = nav.children[index]!
    const what = !isOpen
      ? "closed"
      : `${isPaused ? "paused, " : ""}${stats.inUse} of ${stats.max} in use${
        stats.waiting > 0 ? `, ${stats.waiting} in line` : ""
      }`
    button.setAttribute("aria-current", String(index === chosen))
    button.replaceChildren(name, make("small", { class: stats.waiting > 0 || !isOpen ? "alarm" : "" }, what))
  }
}

const showNumbers = (view: PoolView): void => {
  const { isOpen, isPaused, leases, longestWaitMillis, name, stats, waits } = view
  byId("pool-name").textContent = name
  const state = byId("pool-state")
  state.textContent = !isOpen ? "closed" : isPaused ? "paused" : stats.waiting > 0 ? "callers wait" : "open"
  state.className = `badge ${!isOpen || isPaused || stats.waiting > 0 ? "bad" : "good"}`
  const numbers: ReadonlyArray<readonly [string, string, boolean?]> = [
    ["in use", `${stats.inUse} of ${stats.max}`, stats.inUse >= stats.max],
    ["idle", String(stats.idle)],
    ["in line", String(stats.waiting), stats.waiting > 0],
    ["oldest wait", stats.waiting === 0 ? "none" : millisText(longestWaitMillis), longestWaitMillis > 1000],
    ["wait p50, p99", waits === undefined ? "not measured" : `${millisText(waits.p50)}, ${millisText(waits.p99)}`],
    ["lease p50, p99", leases === undefined ? "not measured" : `${millisText(leases.p50)}, ${millisText(leases.p99)}`],
    ["leases ended", String(stats.returns)],
    ["timed out, refused", `${stats.timeouts}, ${stats.refused}`, stats.timeouts + stats.refused > 0],
    ["connects failed", `${stats.connectFailures} of ${stats.connectAttempts}`, stats.connectFailures > 0],
    ["still running", String(stats.abandoned), stats.abandoned > 0],
    ["possible leaks", String(stats.leaks), stats.leaks > 0]
  ]
  byId("numbers").replaceChildren(
    ...numbers.map(([term, value, isAlarm]) =>
      make("div", {}, make("dt", {}, term), make("dd", { class: isAlarm ? "alarm" : undefined }, value))
    )
  )
}

const showHolders = ({ abandoned, holders, moreHolders, name }: PoolView): void => {
  byId("abandoned").replaceChildren(
    ...abandoned.map(({ connection, text }) =>
      make("li", {}, `connection ${connection} still runs what a caller has left: ${text}`)
    )
  )
  showTable(
    byId("holders"),
    `Who holds a connection of ${name}`,
    [
      { name: "connection", isNumber: true, of: ({ connection }) => connection },
      { name: "holder", className: "text", of: holderText },
      { name: "statement", className: "text", of: statementText },
      { name: "for", isNumber: true, of: ({ heldMillis }) => millisText(heldMillis) },
      { name: "fiber", isNumber: true, of: ({ fiber }) => fiber },
      { name: "trace, span", of: ({ span, trace }) => span === undefined ? "" : `${trace} ${span}` }
    ],
    holders,
    "Nobody."
  )
  byId("holders-note").textContent = moreHolders > 0 ? `${moreHolders} more are not listed.` : ""
}

const showStatements = ({ name, slowStatements }: PoolView): void => {
  showPart("statements-part", slowStatements.length > 0)
  const columns: ReadonlyArray<Column<SlowStatement>> = [
    { name: "statement", className: "text", of: ({ text }) => text },
    { name: "runs", isNumber: true, of: ({ runs }) => runs },
    { name: "total", isNumber: true, of: ({ totalMillis }) => millisText(totalMillis) },
    { name: "p99", isNumber: true, of: ({ p99Millis }) => millisText(p99Millis) },
    { name: "longest", isNumber: true, of: ({ maxMillis }) => millisText(maxMillis) },
    {
      name: "last",
      isNumber: true,
      of: ({ lastAgoMillis, lastMillis }) => `${millisText(lastMillis)}, ${millisText(lastAgoMillis)} ago`
    }
  ]
  showTable(byId("statements"), `Slow statements of ${name}`, columns, slowStatements, "None.")
}

const showEvents = (happenings: ReadonlyArray<Happening>, pool: number): void => {
  const all = byId<HTMLInputElement>("all-events").checked
  const one = byId<HTMLInputElement>("this-pool").checked
  const shown = happenings
    .filter((happening) => (all || happening.level !== "quiet") && (!one || happening.pool === pool))
    .slice(-200)
    .toReversed()
  showTable(
    byId("events"),
    "Events, the newest first",
    [
      { name: "time", className: "time", of: ({ at }) => timeText(at) },
      { name: "pool", of: ({ source }) => source },
      { name: "what", className: "text", of: ({ text }) => text }
    ],
    shown,
    "Nothing yet.",
    ({ level }) => level
  )
}

const showPart = (id: string, isShown: boolean): void => {
  byId(id).hidden = !isShown
}

const showDatabases = ({ databases }: Answer): void => {
  const withLog = databases.filter(({ log }) => log !== undefined)
  showPart("databases-part", withLog.length > 0)
  byId("databases").replaceChildren(
    ...withLog.map(({ filename, log, name }) => {
      const isLong = log!.bytes > log!.limitBytes
      const pins = log!.pins.map(({ holder, pinnedMillis }) =>
        make("li", {}, `${holder === undefined ? "a read" : holderText(holder)}, for ${millisText(pinnedMillis)}`)
      )
      return make(
        "div",
        {},
        make("h3", {}, name),
        make("p", { class: "note" }, filename),
        make(
          "dl",
          {},
          make(
            "div",
            {},
            make("dt", {}, "log"),
            make("dd", { class: isLong ? "alarm" : undefined }, bytesText(log!.bytes))
          ),
          make("div", {}, make("dt", {}, "limit"), make("dd", {}, bytesText(log!.limitBytes)))
        ),
        pins.length === 0
          ? make("p", { class: "note" }, "No read keeps it from being cut back.")
          : make(
            "div",
            {},
            make("p", { class: "note" }, "Reads that keep it from being cut back:"),
            make("ul", {}, ...pins)
          )
      )
    })
  )
}

const showMaps = ({ maps }: Answer): void => {
  showPart("maps-part", maps.length > 0)
  byId("maps").replaceChildren(
    ...maps.map(({ morePools, name, pools, stats }) => {
      const table = make("table")
      showTable(
        table,
        `Pools of ${name}`,
        [
          { name: "key", className: "text", of: ({ key }) => key },
          { name: "state", of: ({ state }) => state },
          { name: "leases", isNumber: true, of: ({ leases }) => leases },
          { name: "in line", isNumber: true, of: ({ waiting }) => waiting }
        ],
        pools,
        "No pool is open."
      )
      const more = morePools > 0 ? ` ${morePools} more are not listed.` : ""
      return make(
        "div",
        {},
        make("h3", {}, name),
        make(
          "p",
          {},
          `${stats.total} of ${stats.max} pools, ${stats.inUse} in use, ${stats.waiting} callers wait.${more}`
        ),
        make("div", { class: "scroll" }, table)
      )
    })
  )
}

const showHealth = ({ health }: Answer): void => {
  showPart("health-part", health.length > 0)
  byId("health").replaceChildren(
    ...health.map(({ checkedAt, lastError, pool, reasons, status }) =>
      make(
        "div",
        {},
        make("h3", {}, `${pool} `, make("span", { class: `badge ${status === "healthy" ? "good" : "bad"}` }, status)),
        make("ul", {}, ...reasons.map((reason) => make("li", {}, reason))),
        make(
          "p",
          { class: "note" },
          checkedAt === undefined ? "The first check is under way." : `Checked at ${timeText(checkedAt)}.`,
          lastError === undefined ? undefined : ` Last error at ${timeText(lastError.at)}: ${lastError.error}`
        )
      )
    )
  )
}
