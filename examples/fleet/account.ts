/** What a gateway tells at its end. */
export interface GatewayAccount {
  readonly streams: number
  /** Streams that were served in the end, at the first try or a later one. */
  readonly ok: number
  /** Token chunks that its library has handed on, of all tries. */
  readonly tokens: number
  /** Chunks that the sidecar says it has delivered and that the library has not handed on. */
  readonly dropped: number
  /** Ends with a hint when to come back. */
  readonly hinted: number
  /** Refusals of a sidecar's without one. */
  readonly unhinted: number
  /** Streams that were not served in all their tries. */
  readonly gaveUp: number
  /** Ends other than OK, by `cy-reason`; `own: …`: the library's own word. */
  readonly ends: Readonly<Record<string, number>>
  readonly firstTokenMillis: ReadonlyArray<number>
}

/** What the broker holds. */
export interface BrokerAccount {
  readonly messages: number
  /** Records with an identifier that another one has. */
  readonly twice: number
  readonly tokens: number
  readonly outcomes: Readonly<Record<string, number>>
}

const share = (sorted: ReadonlyArray<number>, of: number): string =>
  (sorted[Math.floor(of * (sorted.length - 1))] ?? Number.NaN).toFixed(1)

const counted = (ends: Readonly<Record<string, number>>): string =>
  Object.entries(ends).map(([name, count]) => `${name} ${count}`).join(", ") || "none"

const lineOf = (name: string, gateway: GatewayAccount): string => {
  const first = gateway.firstTokenMillis.toSorted((a, b) => a - b)
  return `${name}: ${gateway.streams} streams, ${gateway.ok} served, ${gateway.tokens} tokens (${gateway.dropped} dropped by its ` +
    `library); first token p50 ${share(first, 0.5)} ms, p99 ${share(first, 0.99)} ms; ends other than OK: ${
      counted(gateway.ends)
    }`
}

/** The account in lines, and what of it does not hold. */
export const settle = (
  gateways: Readonly<Record<string, GatewayAccount>>,
  broker: BrokerAccount
): { readonly lines: ReadonlyArray<string>; readonly faults: ReadonlyArray<string> } => {
  const all = Object.values(gateways)
  const sum = (of: (gateway: GatewayAccount) => number): number =>
    all.reduce((total, gateway) => total + of(gateway), 0)
  const tokens = sum((gateway) => gateway.tokens + gateway.dropped)
  const hinted = sum((gateway) => gateway.hinted)
  const lines = [
    ...Object.entries(gateways).map(([name, gateway]) => lineOf(name, gateway)),
    `broker: ${broker.messages} records, ${broker.twice} twice, ${broker.tokens} tokens; outcomes: ${
      counted(broker.outcomes)
    }`,
    `refusals with a hint: ${hinted}, without: ${sum(({ unhinted }) => unhinted)}; streams that were never served: ${
      sum(({ gaveUp }) => gaveUp)
    }`,
    `tokens by gateways ${tokens}, by the broker ${broker.tokens}`
  ]
  const faults = [
    ...(sum(({ unhinted }) => unhinted) > 0 ? ["a refusal came without a hint"] : []),
    ...(sum(({ gaveUp }) => gaveUp) > 0 ? ["a stream was never served"] : []),
    ...(sum(({ ok }) => ok) === sum(({ streams }) => streams) ? [] : ["a stream is missing"]),
    ...(broker.twice > 0 ? ["the broker holds a record twice"] : []),
    ...(tokens === broker.tokens ? [] : ["gateways and broker do not agree on tokens"])
  ]
  return { lines, faults }
}
