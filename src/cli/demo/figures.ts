/** The sidecar's own figures in a scrape of `/metrics`: name with labels, value. Histogram buckets are left out. */
export const figuresOf = (exposition: string): ReadonlyMap<string, number> =>
  new Map(
    exposition.split("\n").flatMap((line): ReadonlyArray<readonly [string, number]> => {
      const match = /^(sidecar_[a-z_]+(?:\{.*\})?) (\S+)/.exec(line)
      if (match?.[1] === undefined || match[1].includes("_bucket{")) return []
      return [[match[1], Number(match[2])]]
    })
  )

export interface Moved {
  readonly name: string
  readonly before: number
  readonly after: number
}

/** What is different in the second scrape. A series that was not there before counts as 0. */
export const moved = (before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): ReadonlyArray<Moved> =>
  [...after].flatMap(([name, value]) => {
    const earlier = before.get(name) ?? 0
    return value === earlier ? [] : [{ name, before: earlier, after: value }]
  })

const short = (value: number): string => Number.isInteger(value) ? String(value) : value.toPrecision(3)

/** A table of what moved. */
export const renderMoved = (rows: ReadonlyArray<Moved>): string => {
  const width = Math.max(0, ...rows.map(({ name }) => name.length))
  return rows.map(({ after, before, name }) => `  ${name.padEnd(width)}  ${short(before)} → ${short(after)}`).join("\n")
}
