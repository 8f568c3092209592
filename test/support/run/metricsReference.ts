/**
 * The tables of docs/metrics.md, from the registry and `src/internal/metrics/reference.ts`.
 *
 * `npm run docs:metrics` writes them between their marks; what stands around them is written by hand.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as Figures from "../../../src/internal/metrics/figures/allFigures.ts"
import type { MetricFamily } from "../../../src/internal/metrics/metricFamily.ts"
import * as NodeFigures from "../../../src/internal/metrics/nodeFamilies.ts"
import { type Reference, references } from "../../../src/internal/metrics/reference.ts"

const page = fileURLToPath(new URL("../../../docs/metrics.md", import.meta.url))

/** Every family that a scrape shows, Node's own among them. */
export const allFamilies = (): ReadonlyArray<MetricFamily> => {
  const node = NodeFigures.open()
  node.close()
  return [...Figures.make(() => 0, () => 0).families, Figures.buildInfo, ...node.families]
}

/** Node's own, whose names do not tell. */
const otherUnits: Readonly<Record<string, string>> = {
  process_max_fds: "descriptors",
  nodejs_active_resources: "resources",
  nodejs_active_resources_total: "resources",
  nodejs_version_info: "1"
}

const unitOf = (family: MetricFamily): string => {
  const ending = family.name.replace(/_total$/, "")
  return references[family.name]?.unit ?? otherUnits[family.name] ??
    (ending.endsWith("_seconds") ? "seconds" : ending.endsWith("_bytes") ? "bytes" : "")
}

/** A HELP line as the table has it. */
const spoken = (help: string): string => help.charAt(0).toLowerCase() + help.slice(1).replace(/\.$/, "")

const cell = (text: string): string => text.replaceAll("|", "\\|")

const labelled = ({ labelNames, name }: MetricFamily): string =>
  labelNames.length === 0 ? name : `${name}{${labelNames.join(",")}}`

const row = (family: MetricFamily): string => {
  const { meaning, todo = "" } = references[family.name] ?? { meaning: spoken(family.help) }
  return `| \`${labelled(family)}\` | ${family.type} | ${unitOf(family)} | ${cell(meaning)} | ${cell(todo)} |`
}

const table = (families: ReadonlyArray<MetricFamily>): string =>
  ["| name | type | unit | meaning | what to do |", "|---|---|---|---|---|", ...families.map(row)].join("\n")

/** The upper bounds of each histogram's buckets, in seconds. */
const buckets = (families: ReadonlyArray<MetricFamily>): string => {
  const rows = families.flatMap((family) =>
    family.type === "histogram" && family.series[0] !== undefined
      ? [`| \`${family.name}\` | ${family.series[0].histogram.snapshot().bounds.map(String).join(" ")} |`]
      : []
  )
  return ["| buckets of | upper bounds, seconds |", "|---|---|", ...rows].join("\n")
}

const sectionOf = (family: MetricFamily): Reference["section"] => references[family.name]?.section ?? "process"

/** The page with its tables of this moment. */
export const withTables = (text: string, families: ReadonlyArray<MetricFamily> = allFamilies()): string =>
  text.replace(/(<!-- begin: (\w+) -->\n)[^]*?(<!-- end -->)/g, (_, begin: string, name: string, end: string) => {
    const content = name === "buckets"
      ? buckets(families.filter((family) => sectionOf(family) === "latency"))
      : table(families.filter((family) => sectionOf(family) === name))
    return `${begin}${content}\n${end}`
  })

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(page, withTables(readFileSync(page, "utf8")))
}
