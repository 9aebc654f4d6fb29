/** The functions that time is spent in, from the profiles of V8. */
import { readdirSync, readFileSync } from "node:fs"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { table } from "./markdown.ts"

/** A profile as V8 writes it. */
interface Profile {
  readonly nodes: ReadonlyArray<ProfileNode>
  /** For each sample the node that ran, and the microseconds since the one before. */
  readonly samples: ReadonlyArray<number>
  readonly timeDeltas: ReadonlyArray<number>
}

interface ProfileNode {
  readonly id: number
  readonly callFrame: { readonly functionName: string; readonly url: string }
  readonly children?: ReadonlyArray<number>
}

/** How much of the time is spent where. */
export type Shares = ReadonlyMap<string, number>

/** The shares in all profiles of a folder together. */
export const readShares = (folder: string): Shares => {
  const micros = new Map<string, number>()
  let all = 0
  for (const file of readdirSync(folder)) {
    const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(join(folder, file), "utf8")) as Profile
    const places = placesOf(nodes)
    for (const [index, sample] of samples.entries()) {
      const place = places.get(sample)
      if (place === undefined) continue
      micros.set(place, (micros.get(place) ?? 0) + timeDeltas[index]!)
      all += timeDeltas[index]!
    }
  }
  return new Map(Array.from(micros, ([place, spent]) => [place, spent / all]))
}

/** Where each node is, but for those of loading modules, and of waiting. */
const placesOf = (nodes: ReadonlyArray<ProfileNode>): Map<number, string> => {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const places = new Map<number, string>()
  const visit = (node: ProfileNode): void => {
    const { functionName, url } = node.callFrame
    if (/^node:internal\/(?:modules|bootstrap|main|process\/esm)/.test(url) || functionName === "(idle)") return
    if (functionName !== "(root)" && functionName !== "(program)") places.set(node.id, placeOf(functionName, url))
    for (const child of node.children ?? []) visit(byId.get(child)!)
  }
  visit(nodes[0]!)
  return places
}

const folderOf = (path: string): string => new URL(path, import.meta.url).href
const library = folderOf("../../dist/")
const benchmark = folderOf("../")
const peers = folderOf("../node_modules/")

const placeOf = (functionName: string, url: string): string => {
  if (functionName === "now" || functionName === "(garbage collector)") return kinds[functionName]
  if (url.startsWith(library)) {
    const file = basename(fileURLToPath(url)).replace(/\.js$/, ".ts")
    return `${file}: ${functionName === "" ? "a closure" : functionName}`
  }
  if (url.startsWith(benchmark) && !url.startsWith(peers)) return kinds.benchmark
  return url.includes("/node_modules/effect/") ? kinds.effect : kinds.node
}

const kinds = {
  now: "the clock",
  "(garbage collector)": "the garbage collector",
  benchmark: "the benchmark itself",
  effect: "Effect: its run loop and primitives",
  node: "Node: asynchronous contexts, microtasks, the rest"
} as const

/** Whatever is less is shown as one. */
const leastShown = 0.01

export const sharesTable = (shares: Shares): string => {
  const rows = Array.from(shares).toSorted(([, a], [, b]) => b - a)
  const shown = rows.filter(([, share]) => share >= leastShown)
  const rest = rows.filter(([, share]) => share < leastShown).reduce((sum, [, share]) => sum + share, 0)
  const cells = [...shown, ["everything below one percent", rest] as const]
  return table([["", "of the time"], ...cells.map(([place, share]) => [place, `${(100 * share).toFixed(1)} %`])])
}
