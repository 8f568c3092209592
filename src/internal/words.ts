/** A number with its noun: `counted(1, "stream")` is "1 stream", `counted(2, "stream")` "2 streams". */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`

/**
 * How long something took or is expected to take, in the seconds that were configured or announced: 5003 ms are "5s".
 * What is shorter than a second has a digit more.
 */
export const lasting = (millis: number): string =>
  millis >= 1000 ? `${Math.round(millis / 1000)}s` : `${Math.max(0.1, Math.round(millis / 100) / 10)}s`

/** When to come back, rounded up: whoever obeys does not come too early. */
export const comeBackIn = (millis: number): string => `${Math.max(1, Math.ceil(millis / 1000))}s`
