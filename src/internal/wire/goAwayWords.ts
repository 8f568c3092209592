/** Debug data of a GOAWAY is shown up to so many characters. */
const MAX_DEBUG_DATA = 80

/** A GOAWAY in words: its code, and what the peer says about it (C-core: `too_many_pings`, `max_age`). */
export const goAwayWords = (code: number, debug: string): string => {
  const readable = debug.replaceAll(/[^\x20-\x7e]/g, "").slice(0, MAX_DEBUG_DATA)
  return `worker said GOAWAY with code ${code}${readable === "" ? "" : ` (${readable})`}`
}
