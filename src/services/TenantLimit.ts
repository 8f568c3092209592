/** What one tenant may have; 0: as much as there is. */
export interface TenantLimit {
  /** Streams at once, held and queued ones included. */
  readonly streams: number
  /** Generated tokens a minute. */
  readonly tokensPerMinute: number
}

/** An entry of `[tenants] tenant_limits`; what it does not name is as for everybody. */
export interface TenantOverride extends Partial<TenantLimit> {
  readonly tenant: string
}

const entry = /^(\S(?:.*?\S)??)((?:\s+(?:streams|tokens_per_min)=\d{1,15})+)$/

/** Reads `acme streams=50 tokens_per_min=100000`; `undefined`: it is none. */
export const parseTenantLimit = (text: string): TenantOverride | undefined => {
  const [, tenant, words] = entry.exec(text.trim()) ?? []
  if (tenant === undefined || words === undefined) return undefined
  const numbers = new Map(
    words.trim().split(/\s+/).map((word) => {
      const [name = "", value] = word.split("=")
      return [name, Number(value)]
    })
  )
  const [streams, tokensPerMinute] = [numbers.get("streams"), numbers.get("tokens_per_min")]
  return {
    tenant,
    ...(streams === undefined ? {} : { streams }),
    ...(tokensPerMinute === undefined ? {} : { tokensPerMinute })
  }
}
