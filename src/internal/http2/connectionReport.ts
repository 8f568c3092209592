import { Effect } from "effect"
import type { GatewayMetrics } from "../../services/GatewayMetrics.ts"
import { SidecarEvent } from "../../services/SidecarEvents.ts"

/** Time between two lines about the same thing, in milliseconds: who makes us close connections must not make us log. */
const QUIET_MILLIS = 10_000
/** Time between two events about the same limit: there is room for a hundred of all kinds. */
const EVENT_QUIET_MILLIS = 60_000

/** Tells operators what became of connections: a figure each time, a line now and then. */
export interface ConnectionReport {
  /** A limit has bitten. */
  limit(limit: string, peer: string | undefined): void
  /** A connection is over. `code`: as in `sidecar_http2_sessions_closed_total`; `tell`: worth a line. */
  closed(code: string, peer: string, detail: string, tell: boolean): void
}

/** Lines leave through `run`, limits also as events through `tell`; `now`: monotonic milliseconds. */
export const connectionReport = (
  metrics: GatewayMetrics["Service"],
  run: (effect: Effect.Effect<void>) => unknown,
  now: () => number,
  tell: (event: SidecarEvent) => void = () => undefined
): ConnectionReport => {
  const lines = new Map<string, { at: number; untold: number }>()

  /** How many of its kind were not told before; `undefined`: this one is not told either. */
  const mayTell = (kind: string, quietMillis: number): number | undefined => {
    const line = lines.get(kind)
    if (line === undefined) {
      lines.set(kind, { at: now(), untold: 0 })
      return 0
    }
    if (now() - line.at < quietMillis) {
      line.untold++
      return undefined
    }
    const { untold } = line
    line.at = now()
    line.untold = 0
    return untold
  }

  const say = (text: string, kind: string, fields: Readonly<Record<string, string | undefined>>) => {
    const untold = mayTell(kind, QUIET_MILLIS)
    if (untold === undefined) return
    const more = untold === 0 ? {} : { untold }
    run(Effect.logWarning(text).pipe(Effect.annotateLogs({ ...fields, ...more })))
  }

  return {
    limit: (limit, peer) => {
      metrics.http2Limited(limit)
      const detail = "a limit for gateway connections was reached"
      say(detail, `limit ${limit}`, { limit, peer: peer ?? "unix" })
      const untold = mayTell(`event ${limit}`, EVENT_QUIET_MILLIS)
      if (untold !== undefined) {
        const text = `${detail}: ${limit}, by ${peer ?? "unix"}`
        tell(SidecarEvent.LimitReached({ limit, detail: text, times: 1 + untold }))
      }
    },
    closed: (code, peer, detail, tell) => {
      metrics.http2SessionClosed(code)
      if (tell) say("a gateway connection was closed", `closed ${code}`, { code, peer, detail })
    }
  }
}
