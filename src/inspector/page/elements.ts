// Makes the elements of the page. Texts of other people only ever become text nodes, so none of them can become markup.

type Answer = import("../internal/contract.ts").Answer
type PoolView = import("../internal/contract.ts").PoolView
type PoolRow = import("../internal/contract.ts").PoolRow
type HostView = import("../internal/contract.ts").HostView
type MapView = import("../internal/contract.ts").MapView
type HolderView = import("../internal/contract.ts").HolderView
type Frame = import("../internal/contract.ts").Frame
type Lane = import("../internal/contract.ts").Lane
type Happening = import("../internal/contract.ts").Happening
type SlowStatement = PoolView["slowStatements"][number]
type Sizes = import("../internal/contract.ts").Sizes
type Simulated = import("../internal/contract.ts").Simulated
type Action = import("../internal/contract.ts").Action

type Child = Node | string | number | undefined

/** An element of the document that is always there. */
const byId = <E extends HTMLElement = HTMLElement>(id: string): E => document.getElementById(id) as E

const make = <T extends keyof HTMLElementTagNameMap>(
  tag: T,
  attributes: Readonly<Record<string, string | undefined>> = {},
  ...children: ReadonlyArray<Child>
): HTMLElementTagNameMap[T] => fill(document.createElement(tag), attributes, children)

const draw = <T extends keyof SVGElementTagNameMap>(
  tag: T,
  attributes: Readonly<Record<string, string | number | undefined>> = {},
  ...children: ReadonlyArray<Child>
): SVGElementTagNameMap[T] => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children)

const fill = <E extends Element>(
  element: E,
  attributes: Readonly<Record<string, string | number | undefined>>,
  children: ReadonlyArray<Child>
): E => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) element.setAttribute(name, String(value))
  }
  for (const child of children) {
    if (child !== undefined) element.append(typeof child === "number" ? String(child) : child)
  }
  return element
}

const millisText = (millis: number): string => {
  if (millis < 1) return millis === 0 ? "0 ms" : "< 1 ms"
  if (millis < 1000) return `${Math.round(millis)} ms`
  if (millis < 60_000) return `${(millis / 1000).toFixed(millis < 10_000 ? 1 : 0)} s`
  if (millis < 3_600_000) return twoUnits(millis, 60_000, "min", 1000, "s")
  return twoUnits(millis, 3_600_000, "h", 60_000, "min")
}

const twoUnits = (millis: number, large: number, largeName: string, small: number, smallName: string): string => {
  const rest = Math.floor((millis % large) / small)
  return `${Math.floor(millis / large)} ${largeName}${rest === 0 ? "" : ` ${rest} ${smallName}`}`
}

const bytesText = (bytes: number): string => {
  if (bytes < 1024) return `${bytes} B`
  if (bytes < 1024 * 1024) return `${Math.round(bytes / 1024)} KiB`
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`
}

/** Says how many are not listed, if there are any. */
const showMore = (id: string, count: number, what: string): void => {
  byId(id).textContent = count > 0 ? `${count} more ${what}` : ""
}

/** A button that stays where it is, and keeps the focus, while it can do nothing. */
const enable = (button: Element, isEnabled: boolean): void => button.setAttribute("aria-disabled", String(!isEnabled))

const isEnabled = (button: Element): boolean => button.getAttribute("aria-disabled") !== "true"

const percentText = (part: number): string => `${(part * 100).toFixed(part > 0 && part < 0.1 ? 1 : 0)} %`

const timeText = (at: number): string => new Date(at).toLocaleTimeString(undefined, { hour12: false })

/** What a holder runs, or ran last. */
const statementText = ({ statement }: HolderView): string | undefined => {
  if (statement === undefined) return undefined
  const { isRunning, ranMillis, text } = statement
  const time = ranMillis === undefined
    ? ""
    : isRunning
    ? `, for ${millisText(ranMillis)}`
    : `, ${millisText(ranMillis)}`
  return `${isRunning ? "runs" : "ran last"}${time}: ${text}`
}

const holderText = ({ fiber, label }: HolderView): string => label ?? `fiber #${fiber}`

interface Column<A> {
  readonly name: string
  readonly isNumber?: boolean
  readonly className?: string
  readonly of: (row: A) => Child
}

const classesOf = ({ className, isNumber }: Pick<Column<never>, "className" | "isNumber">) =>
  isNumber ? "number" : className

/** Replaces the rows of a table. */
const showTable = <A>(
  table: HTMLElement,
  caption: string,
  columns: ReadonlyArray<Column<A>>,
  rows: ReadonlyArray<A>,
  empty: string,
  classOf: (row: A) => string | undefined = () => undefined
): void => {
  const head = columns.map((column) => make("th", { scope: "col", class: classesOf(column) }, column.name))
  const body = rows.map((row) =>
    make(
      "tr",
      { class: classOf(row) },
      ...columns.map((column) => make("td", { class: classesOf(column) }, column.of(row)))
    )
  )
  table.setAttribute("aria-label", caption)
  table.replaceChildren(
    make("thead", {}, make("tr", {}, ...head)),
    make(
      "tbody",
      {},
      ...(body.length > 0 ? body : [make("tr", {}, make("td", { colspan: String(columns.length) }, empty))])
    )
  )
}
