import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"

const css = readFileSync(new URL("../../src/inspector/page/page.css", import.meta.url), "utf8")

/** The colours of the page by name, in its light and in its dark theme. */
const colours = new Map(
  Array.from(css.matchAll(/--(\w+): light-dark\((#\w{6}), (#\w{6})\);/g), ([, name, light, dark]) => [
    name!,
    [light!, dark!]
  ])
)

/** The relative luminance of WCAG 2. */
const luminance = (colour: string): number => {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255
    return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!
}

const contrast = (one: string, other: string): number => {
  const [dark, light] = [luminance(one), luminance(other)].toSorted((a, b) => a - b)
  return (light! + 0.05) / (dark! + 0.05)
}

/** The colours in which something is written, and those that a lane or a line has. What is idle is meant to be faint. */
const ofTexts = ["ink", "soft", "checking", "closing", "broken"]
const ofLanes = ["busy", "held", "opening", "checking", "abandoned", "closing", "broken", "waiting"]

describe("the colours of the page of an inspector", () => {
  for (const [theme, name] of ["light", "dark"].entries()) {
    const of = (colour: string) => colours.get(colour)![theme]!

    it(`can be read in its ${name} theme`, () => {
      for (const text of ofTexts) {
        for (const ground of ["paper", "panel"]) {
          assert.isAtLeast(contrast(of(text), of(ground)), 4.5, `${text} on ${ground}`)
        }
      }
    })

    it(`can be told from the ground in its ${name} theme`, () => {
      for (const lane of ofLanes) assert.isAtLeast(contrast(of(lane), of("panel")), 3, lane)
    })
  }
})
