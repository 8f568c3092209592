/** What each figure may be. docs/performance.md says why. */
import type { ProxyName } from "./proxies.ts"
import type { Budget } from "./report.ts"

/** CPU of the sidecar as a share of another's in the same rounds. */
export const costBudgets = {
  paced: {
    "grpc-js": { must: 0.45 },
    nginx: { must: 1, aim: 0.8 },
    haproxy: { aim: 2 }
  },
  spread: {},
  burst: { "grpc-js": { must: 0.1 }, nginx: { aim: 3 } },
  short: { "grpc-js": { must: 0.25 }, nginx: { aim: 2.5 } },
  spaced: { nginx: { aim: 2.5 } },
  rate: { "grpc-js": { must: 0.45 }, nginx: { aim: 2.5 } },
  // Less than 3 % of the whole is for the meter and its journal.
  metering: { "sidecar-unmetered": { must: 1 / 0.97 } }
} as const satisfies Record<string, Partial<Record<ProxyName, Budget>>>

/** Figures of the sidecar alone. */
export const ownBudgets = {
  "latency, token p50": { must: 0.1 },
  "latency, token p99": { must: 0.6 },
  "latency, first token p50": { must: 0.3 },
  "rss, idle": { must: 80, aim: 64 },
  "rss, 200 paced streams": { must: 110, aim: 90 },
  "rss, after 100,000 short streams": { must: 150, aim: 110 },
  "rss, 1000 stalled readers": { must: 200, aim: 160 },
  "rss, third hundred thousand against the first": { must: 1.1 },
  start: { must: 500 },
  "loop, p99.9": { must: 5, aim: 3 },
  "loop, journal alone p99.9": { must: 5 },
  "growth, a token at 2000 streams against 10": { must: 1.2 }
} as const satisfies Record<string, Budget>
