import { Context } from "effect"

/** What the port for gateways moves. */
export class GatewayMetrics extends Context.Service<GatewayMetrics, {
  /** Open connections of gateways, those in a TLS handshake among them. */
  readonly gatewayConnections: (count: number) => void
  /** A limit of the gateways' connections has bitten. */
  readonly http2Limited: (limit: string) => void
  /** A gateway's connection is over; `code`: HTTP/2's error code in lower case, or why it never was one. */
  readonly http2SessionClosed: (code: string) => void
}>()("cy-llm-sidecar/GatewayMetrics") {}
