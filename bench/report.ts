/** Tables and verdicts. */
import type { ProxyName } from "./proxies.ts"
import type { Cost } from "./scenarios.ts"

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const half = sorted.length / 2
  return sorted.length % 2 === 1 ? sorted[Math.floor(half)]! : (sorted[half - 1]! + sorted[half]!) / 2
}

/** Digits that carry meaning, no more. */
export const show = (value: number): string =>
  Math.abs(value) >= 1000 ? value.toFixed(0) : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3)

/** A Markdown table. */
export const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] ?? "").length)))
  const line = (cells: ReadonlyArray<string>): string =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(" | ")} |`
  return [line(head), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...rows.map(line)].join("\n")
}

/** Per proxy, what each round measured; the rounds of all proxies belong together by their position. */
export type Rounds<A> = ReadonlyMap<ProxyName, ReadonlyArray<A>>

/** The median of the rounds' ratios: what disturbs a round disturbs its neighbours too. */
const ratio = (rounds: Rounds<Cost>, of: ProxyName, to: ProxyName): number | undefined => {
  const [mine, theirs] = [rounds.get(of), rounds.get(to)]
  if (mine === undefined || theirs === undefined) return undefined
  return median(mine.map((cost, i) => cost.micros / (theirs[i]?.micros ?? Number.NaN)))
}

const BASELINES: ReadonlyArray<ProxyName> = [
  "grpc-js",
  "splice",
  "nginx",
  "haproxy",
  "nghttpx",
  "sidecar-other",
  "sidecar-unmetered",
  "sidecar-uncounted"
]

/** The table of a figure that is CPU per `unit`. */
export const costTable = (unit: string, rounds: Rounds<Cost>): string => {
  const baselines = BASELINES.filter((name) => rounds.has(name))
  return table(
    [
      "proxy",
      `CPU µs/${unit}`,
      "lowest–highest",
      `${unit}s/s`,
      "of a core",
      ...baselines.map((name) => `× ${name}`),
      "broken"
    ],
    [...rounds].map(([name, costs]) => {
      const micros = costs.map((cost) => cost.micros)
      return [
        name,
        show(median(micros)),
        `${show(Math.min(...micros))}–${show(Math.max(...micros))}`,
        show(median(costs.map((cost) => cost.rate))),
        `${(100 * median(costs.map((cost) => cost.busy))).toFixed(0)} %`,
        ...baselines.map((baseline) => (ratio(rounds, name, baseline) ?? Number.NaN).toFixed(3)),
        String(costs.reduce((sum, cost) => sum + cost.broken, 0))
      ]
    })
  )
}

/** The most that a figure may be: what it must hold, and what it should. */
export interface Budget {
  readonly must?: number | undefined
  readonly aim?: number | undefined
}

/** One figure held against its budget. */
export interface Verdict extends Budget {
  readonly figure: string
  readonly value: number
  readonly unit: string
}

/** Whether a figure holds what it must. */
export const met = ({ must, value }: Verdict): boolean => must === undefined || value <= must

const judged = (value: number, limit: number | undefined): string =>
  limit === undefined ? "" : value <= limit ? `${limit}` : `${limit}, missed`

/** All figures with what they must be and what they should be. */
export const verdictTable = (verdicts: ReadonlyArray<Verdict>): string =>
  table(
    ["figure", "measured", "unit", "must", "aim"],
    verdicts.map((
      { aim, figure, must, unit, value }
    ) => [figure, show(value), unit, judged(value, must), judged(value, aim)])
  )

/** The sidecar's CPU against each baseline's. */
export const costVerdicts = (
  figure: string,
  rounds: Rounds<Cost>,
  budgets: Partial<Record<ProxyName, Budget>>,
  subject: ProxyName = "sidecar"
): ReadonlyArray<Verdict> =>
  BASELINES.flatMap((baseline) => {
    const budget = budgets[baseline]
    const value = ratio(rounds, subject, baseline)
    return budget === undefined || value === undefined
      ? []
      : [{ figure, value, ...budget, unit: `× ${baseline}` }]
  })
