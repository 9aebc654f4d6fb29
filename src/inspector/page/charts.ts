// Draws the time line of the connections, the load, and the simulated sizes.

const labelWidth = 44
const laneHeight = 16

/** The classes of the states, and what the legend says. */
const kinds: ReadonlyArray<readonly [string, string]> = [
  ["held", "held by one caller"],
  ["busy", "used by callers in turn"],
  ["idle", "idle"],
  ["opening", "connecting"],
  ["checking", "validating, resetting"],
  ["abandoned", "still runs what a caller has left"],
  ["closing", "closing"],
  ["broken", "broken"]
]

const showLegend = (): void => {
  const items = kinds.map(([kind, text]) =>
    make(
      "span",
      {},
      draw(
        "svg",
        { viewBox: "0 0 10 10", "aria-hidden": "true" },
        draw("rect", { class: kind, width: 10, height: 10 })
      ),
      text
    )
  )
  byId("legend").replaceChildren(...items)
}

/** A part of a lane with one look. */
interface Part {
  readonly from: number
  to: number
  readonly kind: string
  readonly text: string
}

/** What one connection did between two frames, and at the second of them. */
const partOf = (before: Lane | undefined, lane: Lane, from: number, at: number): Part => {
  const leases = lane.uses - (before?.uses ?? 0)
  const start = before === undefined ? Math.max(from, at - lane.sinceMillis) : from
  const part = (kind: string, text: string): Part => ({ from: start, to: at, kind, text })
  switch (lane.state) {
    case "in use": {
      const since = at - lane.sinceMillis
      // A lease that began in this time was one of several.
      return leases > 0 || since > from
        ? part("busy", "used by callers in turn")
        : part("held", `held by ${lane.holder ?? "a caller"} since ${timeText(since)}`)
    }
    case "idle":
      return leases > 0 ? part("busy", "used by callers in turn") : part("idle", "idle")
    case "connecting":
      return part("opening", "connecting")
    case "validating":
    case "resetting":
      return part("checking", lane.state)
    case "abandoned":
      return part("abandoned", "still runs what a caller has left")
    case "error":
      return part("broken", `closing, it is broken${lane.evictReason === undefined ? "" : `: ${lane.evictReason}`}`)
    default:
      return part("closing", `closing${lane.evictReason === undefined ? "" : `: ${lane.evictReason}`}`)
  }
}

interface Row {
  readonly id: number
  readonly parts: Array<Part>
  last: Lane
  lastAt: number
}

/** The rows of the pool, the oldest connection first. */
const rowsOf = (frames: ReadonlyArray<Frame>): ReadonlyArray<Row> => {
  const rows = new Map<number, Row>()
  let from = frames[0]?.at ?? 0
  for (const { at, lanes } of frames) {
    for (const lane of lanes) {
      const row = rows.get(lane.id) ?? { id: lane.id, parts: [], last: lane, lastAt: at }
      const next = partOf(rows.has(lane.id) ? row.last : undefined, lane, from, at)
      const previous = row.parts.at(-1)
      if (previous !== undefined && previous.kind === next.kind && previous.text === next.text) previous.to = next.to
      else row.parts.push(next)
      row.last = lane
      row.lastAt = at
      rows.set(lane.id, row)
    }
    from = at
  }
  return [...rows.values()].toSorted((a, b) => a.id - b.id)
}

/** The most rows that are drawn: those of the newest connections. */
const mostDrawn = 60

const showLanes = (
  frames: ReadonlyArray<Frame>,
  reasons: ReadonlyMap<number, string>
): void => {
  const box = byId("lanes")
  const all = rowsOf(frames)
  const rows = all.slice(-mostDrawn)
  // Of many connections, the oldest ones have lanes. One that is newer than all these may still be there.
  const present = frames.at(-1)
  const lastSeen = present === undefined || present.more === 0
    ? Infinity
    : Math.max(0, ...present.lanes.map(({ id }) => id))
  const [first, last] = [frames[0]?.at ?? 0, frames.at(-1)?.at ?? 0]
  const width = Math.max(240, box.clientWidth)
  const height = rows.length * laneHeight + 24
  const x = (at: number) => labelWidth + (at - first) / Math.max(1, last - first) * (width - labelWidth - 8)
  const svg = drawing(box)
  const lanes = rows.map((row, index) => {
    const y = index * laneHeight + 4
    const isGone = row.lastAt < last && row.id <= lastSeen
    const now = row.parts.at(-1)!
    const why = row.last.evictReason ?? reasons.get(row.id)
    const text = `connection ${row.id}: ${
      isGone ? `gone${why === undefined ? "" : `, because of ${why}`}` : now.text
    }; ${row.last.uses} leases have ended`
    const parts = row.parts.map(({ from, kind, text, to }) =>
      draw(
        "rect",
        { class: kind, x: x(from), y, width: Math.max(1, x(to) - x(from)), height: laneHeight - 4, rx: 2 },
        draw("title", {}, `connection ${row.id}: ${text}, until ${timeText(to)}`)
      )
    )
    const end = x(row.lastAt) + 4
    const cross = isGone
      ? draw(
        "path",
        { class: "left", d: `M${end - 3} ${y + 3}l6 6m0 -6l-6 6` },
        draw("title", {}, text)
      )
      : undefined
    const lane = svg.querySelector(`[data-lane="${row.id}"]`) ??
      draw("g", { role: "img", tabindex: -1, "data-lane": row.id })
    lane.setAttribute("aria-label", text)
    lane.replaceChildren(
      draw("text", { x: 6, y: y + 10 }, `#${row.id}`),
      ...parts,
      ...(cross === undefined ? [] : [cross])
    )
    return lane
  })
  const marks = [0, 0.25, 0.5, 0.75].map((part) => {
    const at = first + (last - first) * part
    return draw("text", { x: x(at), y: height - 6 }, timeText(at))
  })
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`)
  svg.setAttribute("height", String(height))
  arrange(svg, lanes, marks)
  const hidden = all.length - rows.length + (present?.more ?? 0)
  byId("lanes-note").textContent = rows.length === 0
    ? "No connection was open in the last minutes."
    : hidden > 0
    ? `${hidden} more connections are not drawn.`
    : ""
}

/** The drawing of the lanes. It stays, and so do its lanes, so that they keep the focus. */
const drawing = (box: HTMLElement): Element => {
  const known = box.firstElementChild
  if (known !== null) return known
  const svg = draw("svg", {
    role: "group",
    "aria-label": "The connections of the last minutes. The arrow keys go from one to the next."
  })
  svg.addEventListener("keydown", (event) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0
    const lanes = lanesOf(svg)
    const next = lanes[lanes.indexOf(document.activeElement as SVGElement) + step]
    if (step === 0 || next === undefined) return
    event.preventDefault()
    for (const lane of lanes) lane.setAttribute("tabindex", lane === next ? "0" : "-1")
    next.focus()
  })
  box.append(svg)
  return svg
}

const lanesOf = (svg: Element): Array<SVGElement> => Array.from(svg.querySelectorAll<SVGElement>("[data-lane]"))

/** Puts the lanes into their order without taking out those that stay. One of them can be reached with Tab. */
const arrange = (svg: Element, lanes: ReadonlyArray<Element>, marks: ReadonlyArray<Element>): void => {
  for (const child of Array.from(svg.children)) if (!lanes.includes(child)) child.remove()
  for (const [place, lane] of lanes.entries()) {
    const present = svg.children[place]
    if (present !== lane) svg.insertBefore(lane, present ?? null)
  }
  svg.append(...marks)
  if (svg.querySelector("[tabindex='0']") === null) lanes[0]?.setAttribute("tabindex", "0")
}

const showLoad = (points: ReadonlyArray<Frame>): void => {
  const box = byId("load")
  const [width, height] = [Math.max(240, box.clientWidth), 120]
  const [first, last] = [points[0]?.at ?? 0, points.at(-1)?.at ?? 0]
  const highest = Math.max(1, ...points.map(({ inUse, max, waiting }) => Math.max(inUse, Math.min(max, 1e6), waiting)))
  const x = (at: number) => labelWidth + (at - first) / Math.max(1, last - first) * (width - labelWidth - 8)
  const y = (value: number) => height - 18 - value / highest * (height - 30)
  const line = (of: (point: typeof points[number]) => number) =>
    points.map((point, index) => `${index === 0 ? "M" : "L"}${x(point.at).toFixed(1)} ${y(of(point)).toFixed(1)}`).join(
      ""
    )
  const present = points.at(-1)
  const text = present === undefined
    ? "Nothing was recorded yet"
    : `${present.inUse} of ${present.max} in use, ${present.waiting} in line`
  box.replaceChildren(
    draw(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": text },
      ...(present === undefined ? [] : [
        draw("path", { class: "area", d: `${line(({ inUse }) => inUse)}L${x(last)} ${y(0)}L${x(first)} ${y(0)}Z` }),
        draw("path", { class: "limit", d: line(({ max }) => max) }),
        draw("path", { class: "queue", d: line(({ waiting }) => waiting) }),
        draw("text", { x: 6, y: y(highest) + 4 }, highest),
        draw("text", { x: 6, y: y(0) }, 0)
      ]),
      draw("text", { x: labelWidth, y: height - 4 }, text)
    )
  )
}

const showSizes = (sizes: Sizes): void => {
  const box = byId("sizes")
  if (sizes.problem !== undefined) {
    box.replaceChildren(make("p", {}, `No answer yet: ${sizes.problem}.`))
    return
  }
  const { simulated } = sizes
  const [width, height] = [Math.max(240, box.clientWidth), 150]
  const highest = Math.max(1, ...simulated.map(({ p99 }) => p99))
  const largest = Math.max(1, ...simulated.map(({ max }) => max))
  const x = (max: number) => labelWidth + max / largest * (width - labelWidth - 20)
  const y = (millis: number) => height - 24 - millis / highest * (height - 40)
  const dots = simulated.map(({ max, p99 }) =>
    draw(
      "circle",
      { class: max === sizes.now ? "dot now" : "dot", cx: x(max), cy: y(p99), r: max === sizes.now ? 5 : 3.5 },
      draw("title", {}, `max ${max}: ${millisText(p99)}`)
    )
  )
  const path = simulated.map(({ max, p99 }, index) => `${index === 0 ? "M" : "L"}${x(max)} ${y(p99)}`).join("")
  const table = make("table")
  const columns: ReadonlyArray<Column<Simulated>> = [
    { name: "max", isNumber: true, of: ({ max }) => max === sizes.now ? `${max} (now)` : max },
    { name: "wait p50", isNumber: true, of: ({ p50 }) => millisText(p50) },
    { name: "wait p99", isNumber: true, of: ({ p99 }) => millisText(p99) },
    { name: "not served", isNumber: true, of: ({ notServed }) => percentText(notServed) },
    { name: "in use", isNumber: true, of: ({ utilization }) => percentText(utilization) }
  ]
  showTable(table, "Simulated waits by max", columns, simulated, "nothing")
  const measured = `Measured: ${sizes.perSecond.toFixed(1)} requests a second for ${millisText(sizes.overMillis)}, ` +
    `which waited for ${millisText(sizes.meanWaitMillis)} on average. In the simulation with max ${sizes.now} it is ` +
    `${millisText(sizes.simulatedWaitMillis)}: the nearer these two, the more the rest is worth.`
  box.replaceChildren(
    make("p", {}, measured),
    make(
      "div",
      { class: "chart" },
      draw(
        "svg",
        {
          viewBox: `0 0 ${width} ${height}`,
          height,
          role: "img",
          "aria-label": "The wait that 99 of 100 requests do not exceed, by max"
        },
        draw("path", { class: "curve", d: path }),
        ...dots,
        draw("text", { x: 6, y: y(highest) + 4 }, millisText(highest)),
        draw("text", { x: 6, y: y(0) + 4 }, "0 ms"),
        ...simulated.filter(({ max }) => [sizes.now, largest].includes(max)).map(({ max }) =>
          draw("text", { x: x(max) + 8, y: height - 6, "text-anchor": "end" }, `max ${max}`)
        )
      )
    ),
    make("div", { class: "scroll" }, table),
    make("ul", { class: "note" }, ...sizes.limits.map((limit) => make("li", {}, limit)))
  )
}
