/**
 * Writes times as `Date.prototype.toISOString` does (ISO 8601 in UTC, with milliseconds). Times of one second come together:
 * what they have in common is written once.
 */
export const makeIsoTime = (): (millis: number) => string => {
  let second = Number.NaN
  let prefix = ""
  return (millis) => {
    const whole = Math.floor(millis / 1000)
    if (whole !== second) {
      second = whole
      prefix = new Date(whole * 1000).toISOString().slice(0, -4)
    }
    const rest = Math.floor(millis - whole * 1000)
    return `${prefix}${rest < 10 ? "00" : rest < 100 ? "0" : ""}${rest}Z`
  }
}
