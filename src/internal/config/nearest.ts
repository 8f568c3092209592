/** Edits between two words: insert, delete, replace, or swap of neighbours (optimal string alignment). */
const distance = (a: string, b: string): number => {
  let beforeLast: ReadonlyArray<number> = []
  let last: ReadonlyArray<number> = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(last, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
        ? at(beforeLast, j - 2) + 1
        : Infinity
      row.push(Math.min(replaced, swapped, at(last, j) + 1, at(row, j - 1) + 1))
    }
    beforeLast = last
    last = row
  }
  return at(last, b.length)
}

const at = (row: ReadonlyArray<number>, index: number): number => row[index] ?? Infinity

const normal = (word: string): string => word.toLowerCase().replaceAll(/[-_.\s]/g, "_")

/** Edits that still look like a slip: one in three letters. */
const tolerance = (word: string): number => Math.max(1, Math.floor(word.length / 3))

/**
 * The candidate that somebody who wrote `word` most likely meant: a few edits away, or one contains the other as a
 * whole (`reload_secs` for `max_reload_secs`). `undefined` when nothing is near enough to be worth saying.
 */
export const nearest = (word: string, candidates: Iterable<string>): string | undefined => {
  const wanted = normal(word)
  let best: { readonly name: string; readonly edits: number } | undefined
  for (const name of candidates) {
    const candidate = normal(name)
    const contained = wanted.length > 3 && (`_${candidate}_`.includes(`_${wanted}_`) ||
      (candidate.length > 3 && `_${wanted}_`.includes(`_${candidate}_`)))
    const edits = distance(wanted, candidate)
    const score = contained ? Math.min(edits, 1.5) : edits
    if ((contained || edits <= tolerance(candidate)) && (best === undefined || score < best.edits)) {
      best = { name, edits: score }
    }
  }
  return best?.name
}

const words = (name: string): ReadonlyArray<string> => normal(name).split("_").filter((part) => part.length > 2)

/** The candidate that shares the rarest words with `word` (`billing_url`: `billing_endpoint`); the first of equals. */
export const related = (word: string, candidates: Iterable<string>): string | undefined => {
  const names = Array.from(candidates)
  const wanted = words(word)
  let best: { readonly name: string; readonly score: number } | undefined
  for (const name of names) {
    const shared = words(name).filter((part) => wanted.includes(part))
    const score = shared.reduce(
      (sum, part) => sum + 1 / names.filter((other) => words(other).includes(part)).length,
      0
    )
    if (score > 0 && (best === undefined || score > best.score)) best = { name, score }
  }
  return best?.name
}
