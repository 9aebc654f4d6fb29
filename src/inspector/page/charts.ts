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

/** The rows of one pool, the oldest connection first. */
const rowsOf = (frames: ReadonlyArray<Frame>, pool: number): ReadonlyArray<Row> => {
  const rows = new Map<number, Row>()
  let from = frames[0]?.at ?? 0
  for (const { at, pools } of frames) {
    for (const lane of pools[pool]?.lanes ?? []) {
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
const mostRows = 60

const showLanes = (
  frames: ReadonlyArray<Frame>,
  pool: number,
  view: PoolView,
  reasons: ReadonlyMap<number, string>
): void => {
  const box = byId("lanes")
  const all = rowsOf(frames, pool)
  const rows = all.slice(-mostRows)
  const [first, last] = [frames[0]?.at ?? 0, frames.at(-1)?.at ?? 0]
  const width = Math.max(240, box.clientWidth)
  const height = rows.length * laneHeight + 24
  const x = (at: number) => labelWidth + (at - first) / Math.max(1, last - first) * (width - labelWidth - 8)
  const lanes = rows.map((row, index) => {
    const y = index * laneHeight + 4
    const isGone = row.lastAt < last
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
    return draw(
      "g",
      { role: "img", tabindex: "0", "aria-label": text },
      draw("text", { x: 6, y: y + 10 }, `#${row.id}`),
      ...parts,
      cross
    )
  })
  const marks = [0, 0.25, 0.5, 0.75].map((part) => {
    const at = first + (last - first) * part
    return draw("text", { x: x(at), y: height - 6 }, timeText(at))
  })
  box.replaceChildren(
    draw(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": "The connections of the last minutes" },
      ...lanes,
      ...marks
    )
  )
  const hidden = all.length - rows.length + view.moreConnections
  byId("lanes-note").textContent = rows.length === 0
    ? "No connection was open in the last minutes."
    : hidden > 0
    ? `${hidden} more connections are not drawn.`
    : ""
}

const showLoad = (frames: ReadonlyArray<Frame>, pool: number): void => {
  const box = byId("load")
  const points = frames.flatMap(({ at, pools }) => {
    const seen = pools[pool]
    return seen === undefined ? [] : [{ at, inUse: seen.inUse, waiting: seen.waiting, max: seen.max }]
  })
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
      draw("text", { x: labelWidth, y: height - 4 }, `${text} (area: in use; dashes: max; line: in line)`)
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
