/** What the code is written for. */
const needed = "22.19.0"

/**
 * Of each line of releases the first whose HTTP/2 has none of the faults known at the time of this release that a gateway
 * can use, of which the last is CVE-2026-123866 (memory of other connections is sent when a stream is reset while a write
 * waits); CVE-2026-56846, 56848, 48937, 48619 and 21714 are mended there, too. `engines` in package.json says the same.
 */
export const mended: ReadonlyArray<string> = ["22.23.5", "24.22.3", "26.13.1"]

const numbers = (version: string): ReadonlyArray<number> => version.replace(/^v/, "").split(/[.-]/, 3).map(Number)

const isBelow = (version: string, other: string): boolean => {
  const [a, b] = [numbers(version), numbers(other)]
  for (let at = 0; at < 3; at++) {
    const [left = 0, right = 0] = [a[at], b[at]]
    if (left !== right) return left < right
  }
  return false
}

/** The first words of a program that this Node cannot run; `undefined`: it can. */
export const tooOld = (version: string): string | undefined =>
  isBelow(version, needed)
    ? `needs Node ${needed} or newer, this is ${version.replace(/^v/, "")}: install a newer one ` +
      "(in a checkout: `npm run` and `npx node` take the one that `npm ci` installed)"
    : undefined

/** One line for the log of a daemon on a Node with known faults in HTTP/2; `undefined`: it has none. */
export const unmended = (version: string): string | undefined => {
  const [major = 0] = numbers(version)
  // A line that is none of these has ended; only a newer one has what the newest has.
  const first = mended.find((one) => numbers(one)[0] === major)
  const last = mended.at(-1) ?? ""
  if (first === undefined ? !isBelow(version, last) : !isBelow(version, first)) return undefined
  return `Node ${version.replace(/^v/, "")} has known faults in HTTP/2 that any gateway can use, the last one ` +
    `CVE-2026-123866: run ${mended.join(", ")} or a newer one of these lines`
}
