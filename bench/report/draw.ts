/** Draws charts in one style, without a browser. */
import { BarChart, LineChart } from "echarts/charts"
import { GridComponent, LegendComponent, TitleComponent } from "echarts/components"
import { init, use } from "echarts/core"
import { SVGRenderer } from "echarts/renderers"
import type { Recorded } from "./recorded.ts"

use([BarChart, LineChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer])

/** Each contender has one colour in all charts. */
export const colors: Readonly<{ [name: string]: string }> = {
  "ours: use": "#1f6feb",
  "ours: useSync": "#79b8ff",
  "ours: read": "#1f6feb",
  "ours: sql": "#79b8ff",
  "ours: read, statementCacheSize 1000": "#79b8ff",
  "Pool.use": "#57606a",
  "tarn": "#d4a72c",
  "generic-pool": "#8250df",
  "pg-pool": "#2da44e",
  "@effect/sql-sqlite-node: sql": "#57606a",
  "knex: builder": "#d4a72c",
  "knex: builder, pool 1..4": "#8250df",
  "ours: sql, groupCommit off": "#cf222e",
  "floor: group commit": "#b6bcc4",
  "floor: primitive": "#b6bcc4",
  "floor: 1 writer, 3 readers": "#b6bcc4",
  "node:sqlite, not prepared": "#b6bcc4"
}

export const day = ({ date }: Recorded): string => date.slice(0, 10)

/** An ECharts option as SVG. */
export const draw = (option: object, height = 420): string => {
  const chart = init(null, null, { renderer: "svg", ssr: true, width: 860, height })
  chart.setOption({ animation: false, backgroundColor: "#ffffff", ...option })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}

/** The text of a ratio, such as `1.9×`, with only the digits that matter. */
export const times = (value: number): string => `${value < 10 ? Number(value.toPrecision(2)) : value.toFixed(0)}×`
