// The numbers, tables and lists of the page.

/** The buttons of the pools that are listed. The order stays while somebody is about to choose, unless `isNew`. */
const showPools = (
  { foundPools, poolCount, pools, poolsFrom }: Answer,
  chosen: number,
  choose: (pool: number) => void,
  isNew: boolean
): void => {
  const nav = byId("pools")
  const buttons = () => Array.from(nav.querySelectorAll<HTMLButtonElement>("button"))
  const isListed = pools.length === buttons().length &&
    buttons().every((button, place) => button.dataset["pool"] === String(pools[place]!.index))
  if (!isListed && (isNew || !nav.matches(":hover, :focus-within") || pools.length > buttons().length)) {
    nav.replaceChildren(
      ...pools.map(({ index }) => {
        const button = make("button", { type: "button", "data-pool": String(index) })
        button.addEventListener("click", () => choose(index))
        return button
      })
    )
  }
  const rows = new Map(pools.map((row) => [String(row.index), row]))
  for (const button of buttons()) {
    const row = rows.get(button.dataset["pool"]!)
    button.setAttribute("aria-current", String(button.dataset["pool"] === String(chosen)))
    if (row === undefined) continue
    const isBad = row.waiting > 0 || !row.isOpen
    button.replaceChildren(row.name, make("small", { class: isBad ? "alarm" : "" }, rowText(row)))
  }
  const isLimited = poolCount > pools.length || byId<HTMLInputElement>("find").value !== ""
  byId("more-pools").hidden = !isLimited
  // The pool that is shown may be listed besides.
  const last = Math.min(foundPools, poolsFrom + mostRows)
  byId("pools-note").textContent = foundPools === 0
    ? `No pool of ${poolCount} has that name.`
    : `Pools ${poolsFrom + 1} to ${last} of ${foundPools}, the busiest first.`
  enable(byId("pools-before"), poolsFrom > 0)
  enable(byId("pools-after"), last < foundPools)
}

/** The most pools that an answer lists. */
const mostRows = 50

const rowText = ({ inUse, isOpen, isPaused, max, waiting }: PoolRow): string =>
  !isOpen
    ? "closed"
    : `${isPaused ? "paused, " : ""}${inUse} of ${max} in use${waiting > 0 ? `, ${waiting} in line` : ""}`

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

const showHolders = ({ abandoned, holders, moreAbandoned, moreHolders, name }: PoolView): void => {
  byId("abandoned").replaceChildren(
    ...abandoned.map(({ connection, text }) =>
      make("li", {}, `connection ${connection} still runs what a caller has left: ${text}`)
    ),
    ...(moreAbandoned > 0 ? [make("li", {}, `${moreAbandoned} more connections are not listed.`)] : [])
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
  showMore("holders-note", moreHolders, "are not listed: they have held theirs for less long.")
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
      { name: "pool", className: "pool", of: ({ source }) => source },
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

const showDatabases = ({ databases, moreDatabases }: Answer): void => {
  const withLog = databases.filter(({ log }) => log !== undefined)
  showPart("databases-part", withLog.length > 0)
  byId("databases").replaceChildren(
    ...withLog.map(({ filename, log, name }) => {
      const { bytes, limitBytes, morePins, pins } = log!
      const isLong = limitBytes !== undefined && bytes > limitBytes
      const pinTexts = pins.map(({ holder, pinnedMillis }) =>
        `${holder === undefined ? "a read" : holderText(holder)}, for ${millisText(pinnedMillis)}`
      )
      if (morePins > 0) pinTexts.push(`${morePins} more`)
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
            make("dd", { class: isLong ? "alarm" : undefined }, bytesText(bytes))
          ),
          make(
            "div",
            {},
            make("dt", {}, "limit"),
            make("dd", {}, limitBytes === undefined ? "none: it only reads" : bytesText(limitBytes))
          )
        ),
        pinTexts.length === 0
          ? make("p", { class: "note" }, "No read keeps it from being cut back.")
          : make(
            "div",
            {},
            make("p", { class: "note" }, "Reads that keep it from being cut back:"),
            make("ul", {}, ...pinTexts.map((text) => make("li", {}, text)))
          )
      )
    })
  )
  showMore("databases-note", moreDatabases, "databases are not listed: their logs are shorter.")
}

const showHosts = ({ hosts, moreHosts }: Answer): void => {
  showPart("hosts-part", hosts.length > 0)
  const columns: ReadonlyArray<Column<HostView>> = [
    { name: "host", className: "pool", of: ({ host }) => host },
    { name: "role", className: "text", of: hostText },
    { name: "lag", isNumber: true, of: lagText },
    { name: "timeline", isNumber: true, of: ({ timeline }) => timeline ?? "" },
    {
      name: "answered",
      isNumber: true,
      of: ({ answeredAgoMillis: ago }) => ago === undefined ? "never" : `${millisText(ago)} ago`
    },
    { name: "database", className: "pool", of: ({ database }) => database }
  ]
  showTable(byId("hosts"), "Hosts of databases", columns, hosts, "None.", levelOf)
  showMore("hosts-note", moreHosts, "hosts are not listed: they are nothing worse.")
}

const hostText = ({ isFresh, problem, role }: HostView): string => {
  if (role === "away") return `away: ${problem ?? "it does not answer"}`
  if (role === "refused") return "old primary, not used"
  if (role === "unknown") return "not asked yet"
  return role === "replica" && !isFresh ? "replica, not read: it lags behind" : role
}

const lagText = ({ lagBytes, role }: HostView): string =>
  role !== "replica" ? "" : lagBytes === undefined ? "unknown" : bytesText(lagBytes)

const levelOf = ({ isFresh, role }: HostView): string | undefined =>
  role === "away" ? "error" : role === "refused" || role === "replica" && !isFresh ? "warning" : undefined

/** The part of the page of one map. Its buttons stay, so that they keep the focus. */
const mapPart = (index: number, turnTo: (map: number, from: number) => void): HTMLElement => {
  const before = make("button", { type: "button" }, "Busier pools")
  const after = make("button", { type: "button" }, "More pools")
  const part = make(
    "div",
    {},
    make("h3"),
    make("p"),
    make("div", { class: "scroll tall", tabindex: "0", role: "region" }, make("table")),
    make("div", { class: "buttons" }, before, after)
  )
  const turn = (button: Element, direction: number) =>
    button.addEventListener("click", () => {
      const { atATime, from } = part.dataset
      if (isEnabled(button)) turnTo(index, Number(from) + direction * Number(atATime))
    })
  turn(before, -1)
  turn(after, 1)
  return part
}

const showMaps = ({ maps, moreMaps }: Answer, turnTo: (map: number, from: number) => void): void => {
  showPart("maps-part", maps.length > 0)
  const box = byId("maps")
  if (box.childElementCount !== maps.length) {
    box.replaceChildren(...maps.map(({ index }) => mapPart(index, turnTo)))
  }
  for (const [place, map] of maps.entries()) showMap(box.children[place] as HTMLElement, map)
  showMore("maps-note", moreMaps, "maps are not listed.")
}

const showMap = (part: HTMLElement, map: MapView): void => {
  const { atATime, from, inUse, max, name, poolCount, pools, total, waiting } = map
  const last = Math.min(poolCount, from + atATime)
  part.dataset["from"] = String(from)
  part.dataset["atATime"] = String(atATime)
  part.querySelector("h3")!.textContent = name
  part.querySelector(".tall")!.setAttribute("aria-label", `Pools of ${name}`)
  const isCut = poolCount > atATime
  const sums = `${total} of ${max} pools, ${inUse} in use, ${waiting} callers wait.`
  part.querySelector("p")!.textContent = isCut
    ? `${sums} Listed are ${from + 1} to ${last}, the busiest first.`
    : sums
  showTable(
    part.querySelector("table")!,
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
  const buttons = part.querySelector<HTMLElement>(".buttons")!
  buttons.hidden = !isCut
  enable(buttons.children[0]!, from > 0)
  enable(buttons.children[1]!, last < poolCount)
}

const showHealth = ({ health, moreHealth }: Answer): void => {
  showMore("health-note", moreHealth, "checkers are not listed: they report nothing worse.")
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
