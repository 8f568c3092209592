import type { Settings } from "../../services/SidecarConfig.ts"
import * as E from "../../services/StreamError.ts"
import { parseTenantLimit, type TenantLimit, type TenantOverride } from "../../services/TenantLimit.ts"

type TenantSettings = Settings["tenants"]

/** Names of tenants that are kept at once. Who comes when all of them are busy shares an account with all others that do. */
const MOST_ACCOUNTS = 10_000
/** Time between two looks for accounts that may go: a look is as long as there are accounts. */
const PAUSE_MILLIS = 1000
/** Sums of fractions come out a little short, or a little long. Tokens. */
const ROUNDING = 1e-6
/** What may be spent at once: the tokens of a minute. */
const MINUTE = 60_000

/** What a tenant has under way and has used up. Made by {@link Tenants}. */
export class TenantAccount {
  readonly tenant: string
  readonly #now: () => number
  #limit: TenantLimit
  #streams = 0
  /** Tokens that may still be spent, as of {@link #at}; below 0 by what running streams have gone beyond it. */
  #tokens: number
  #at: number

  constructor(tenant: string, limit: TenantLimit, now: () => number) {
    this.tenant = tenant
    this.#now = now
    this.#limit = limit
    this.#tokens = limit.tokensPerMinute
    this.#at = now()
  }

  get streams(): number {
    return this.#streams
  }

  /** Nothing is under way and nothing is owed: forgetting it gives nobody anything. */
  get isAtRest(): boolean {
    this.#refill()
    return this.#streams === 0 && this.#tokens >= this.#limit.tokensPerMinute
  }

  /** Why one more stream may not begin, if so. */
  refusal(limit: TenantLimit): E.TenantLimited | undefined {
    this.#take(limit)
    const { streams, tokensPerMinute } = limit
    if (streams > 0 && this.#streams >= streams) {
      return new E.TenantLimited({ kind: "streams", limit: streams, retryAfterMillis: undefined })
    }
    if (tokensPerMinute > 0 && this.#tokens < 1 - 2 * ROUNDING) {
      const retryAfterMillis = Math.ceil((1 - ROUNDING - this.#tokens) * MINUTE / tokensPerMinute)
      return new E.TenantLimited({ kind: "tokens", limit: tokensPerMinute, retryAfterMillis })
    }
    return undefined
  }

  enter(): void {
    this.#streams++
  }

  leave(): void {
    this.#streams--
  }

  /** So many tokens were handed to a gateway. */
  spend(tokens: number): void {
    if (this.#limit.tokensPerMinute === 0) return
    this.#refill()
    this.#tokens -= tokens
  }

  /** Another limit holds from now on; what was used up stays used up. */
  #take(limit: TenantLimit): void {
    this.#refill()
    if (limit.tokensPerMinute !== this.#limit.tokensPerMinute) {
      const spent = this.#limit.tokensPerMinute - this.#tokens
      this.#tokens = limit.tokensPerMinute - spent
    }
    this.#limit = limit
  }

  #refill(): void {
    const now = this.#now()
    const { tokensPerMinute } = this.#limit
    this.#tokens = Math.min(tokensPerMinute, this.#tokens + (now - this.#at) * tokensPerMinute / MINUTE)
    this.#at = now
  }
}

/**
 * What each tenant has, against what it may have (`[tenants]`). Tokens are counted as they flow, by a bucket that holds a
 * minute's: a running stream is never cut for them, and what it took beyond is owed, so that over any time no tenant gets
 * more than its rate and one minute's tokens, but for what ran when they were used up.
 */
export class Tenants {
  readonly #settings: TenantSettings
  readonly #now: () => number
  readonly #accounts = new Map<string, TenantAccount>()
  #others: TenantAccount | undefined
  #forgotAt = Number.NEGATIVE_INFINITY
  #parsed: readonly [TenantSettings["tenant_limits"], ReadonlyMap<string, TenantOverride>] | undefined

  /** `settings` are read at each question; `now`: monotonic milliseconds. */
  constructor(settings: TenantSettings, now: () => number) {
    this.#settings = settings
    this.#now = now
  }

  /** Whether anybody has a limit. */
  get areLimited(): boolean {
    const { max_tenant_streams, max_tenant_tokens_per_min, tenant_limits } = this.#settings
    return max_tenant_streams > 0 || max_tenant_tokens_per_min > 0 || tenant_limits.length > 0
  }

  /** Takes a stream of the tenant in, or says why not. Who is taken in leaves by {@link TenantAccount.leave}. */
  admit(tenant: string): TenantAccount | E.TenantLimited {
    const limit = this.#limitOf(tenant)
    const account = this.#accountOf(tenant, limit)
    const refusal = account.refusal(limit)
    if (refusal !== undefined) return refusal
    account.enter()
    return account
  }

  #limitOf(tenant: string): TenantLimit {
    const { max_tenant_streams, max_tenant_tokens_per_min, tenant_limits } = this.#settings
    if (this.#parsed?.[0] !== tenant_limits) {
      const overrides = tenant_limits.map(parseTenantLimit).filter((override) => override !== undefined)
      this.#parsed = [tenant_limits, new Map(overrides.map((override) => [override.tenant, override]))]
    }
    // What everybody may have changes by itself.
    const { streams = max_tenant_streams, tokensPerMinute = max_tenant_tokens_per_min } = this.#parsed[1].get(tenant) ??
      {}
    return { streams, tokensPerMinute }
  }

  #accountOf(tenant: string, limit: TenantLimit): TenantAccount {
    const known = this.#accounts.get(tenant)
    if (known !== undefined) return known
    if (this.#accounts.size >= MOST_ACCOUNTS) this.#forget()
    if (this.#accounts.size >= MOST_ACCOUNTS) return this.#others ??= new TenantAccount(tenant, limit, this.#now)
    const account = new TenantAccount(tenant, limit, this.#now)
    this.#accounts.set(tenant, account)
    return account
  }

  #forget(): void {
    const now = this.#now()
    if (now < this.#forgotAt + PAUSE_MILLIS) return
    this.#forgotAt = now
    for (const [tenant, account] of this.#accounts) if (account.isAtRest) this.#accounts.delete(tenant)
  }
}
