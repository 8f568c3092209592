const units: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 }

/**
 * What `--since` means, in milliseconds since the epoch: an age (`30m`, `1h`, `7d`, `2w`) or an ISO 8601 date or time
 * (`2026-01-31`, `2026-01-31T08:00Z`; UTC without a zone). `undefined`: neither.
 */
export const parseSince = (text: string, now: number): number | undefined => {
  const age = /^(\d+)([mhdw])$/.exec(text)
  if (age !== null) return now - Number(age[1]) * (units[age[2] ?? ""] ?? 0)
  if (!/^\d{4}-\d{2}-\d{2}/.test(text)) return undefined
  const zoned = /(?:Z|[+-]\d{2}:?\d{2})$/.test(text.slice(10)) || text.length === 10 ? text : `${text}Z`
  const millis = Date.parse(zoned)
  return Number.isNaN(millis) ? undefined : millis
}
