/** Names that a worker's Health may add as series; those that come first keep their place until the next start. */
const MOST_NAMES = 50
const NAME = /^[A-Za-z_][\w.:-]{0,63}$/
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/

/** The figures among a worker's words in Health. */
export interface HealthReadings {
  readonly set: (metrics: Readonly<Record<string, string>>) => void
  /** There is no worker any more whose words they could be. */
  readonly clear: () => void
  readonly read: () => Iterable<readonly [string, number]>
}

export const make = (): HealthReadings => {
  const names = new Set<string>()
  let last: Readonly<Record<string, string>> = {}
  const isKnown = (name: string): boolean => {
    if (names.has(name)) return true
    if (names.size >= MOST_NAMES || !NAME.test(name)) return false
    names.add(name)
    return true
  }
  return {
    set: (metrics) => {
      last = metrics
    },
    clear: () => {
      last = {}
    },
    read: () =>
      Object.entries(last).flatMap(([name, word]) => {
        const value = NUMBER.test(word) ? Number(word) : Number.NaN
        return Number.isFinite(value) && isKnown(name) ? [[name, value] as const] : []
      })
  }
}
