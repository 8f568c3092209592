/** What a run measured, kept in a file, and held against a later run. */
import { Schema } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import type { ProxyName } from "./proxies.ts"
import { median, show, table, type Verdict } from "./report.ts"

/** Microseconds of each round, by figure and proxy. */
export type Kept = Record<string, Partial<Record<ProxyName, ReadonlyArray<number>>>>

const Numbers = Schema.Record(Schema.String, Schema.Array(Schema.Number))
const File = Schema.Struct({
  at: Schema.String,
  costs: Schema.Record(Schema.String, Numbers),
  figures: Schema.Record(Schema.String, Schema.Number)
})
export type Earlier = typeof File.Type

const key = ({ figure, unit }: Verdict): string => `${figure} (${unit})`

export const keep = (file: string, costs: Kept, verdicts: ReadonlyArray<Verdict>): void => {
  const figures = Object.fromEntries(verdicts.map((verdict) => [key(verdict), verdict.value]))
  writeFileSync(file, `${JSON.stringify({ at: new Date().toISOString(), costs, figures }, undefined, 2)}\n`)
}

/** What {@link keep} has written. */
export const read = (file: string): Earlier => Schema.decodeUnknownSync(File)(JSON.parse(readFileSync(file, "utf8")))

/**
 * Then, now and their ratio. A machine differs from itself on another day, so the rows of the other proxies say how much
 * of a difference is the machine's; the shares against them, below, do not need that.
 */
export const comparison = (earlier: Earlier, costs: Kept, verdicts: ReadonlyArray<Verdict>): string => {
  const row = (
    what: string,
    then: number,
    now: number
  ): Array<string> => [what, show(then), show(now), `${(now / then).toFixed(3)} ×`]
  const micros = Object.entries(costs).flatMap(([figure, byProxy]) =>
    Object.entries(byProxy).flatMap(([proxy, rounds]) => {
      const then = earlier.costs[figure]?.[proxy]
      return then === undefined || then.length === 0 || rounds.length === 0
        ? []
        : [row(`${figure}, ${proxy}, µs`, median(then), median(rounds))]
    })
  )
  const figures = verdicts.flatMap((verdict) => {
    const then = earlier.figures[key(verdict)]
    return then === undefined ? [] : [row(key(verdict), then, verdict.value)]
  })
  return table([`figure`, earlier.at, "now", "now / then"], [...micros, ...figures])
}
