import type { GatewayMetrics } from "../../../services/GatewayMetrics.ts"
import { wordCounter } from "../labelSets.ts"
import { byLabel, gauge } from "../metricFamily.ts"
import type { Figures } from "./figures.ts"

const http2LimitWords = [
  "resets",
  "made_resets",
  "settings",
  "pings",
  "empty_data",
  "window_updates",
  "ignored_frames",
  "stray_frames",
  "header_block",
  "header_list",
  "unread_output",
  "connections",
  "address_connections",
  "descriptors",
  "accept"
]

const http2CloseWords = [
  "no_error",
  "protocol_error",
  "internal_error",
  "flow_control_error",
  "settings_timeout",
  "stream_closed",
  "frame_size_error",
  "refused_stream",
  "cancel",
  "compression_error",
  "connect_error",
  "enhance_your_calm",
  "inadequate_security",
  "http_1_1_required",
  "unknown",
  "none",
  "http1",
  "not_http2",
  "tls_on_plaintext",
  "plaintext_on_tls",
  "handshake_timeout",
  "handshake_failed"
]

export const make = (): Figures<GatewayMetrics["Service"]> => {
  let connections = 0
  const limits = wordCounter(http2LimitWords)
  const closes = wordCounter(http2CloseWords)

  const recorder: GatewayMetrics["Service"] = {
    gatewayConnections: (count) => {
      connections = count
    },
    http2Limited: limits.add,
    http2SessionClosed: closes.add
  }

  const families = [
    gauge("sidecar_gateway_connections", "Open connections of gateways.", () => connections),
    byLabel(
      "counter",
      "sidecar_http2_limits_total",
      "Times that a limit for gateway connections has bitten.",
      "limit",
      limits.read
    ),
    byLabel(
      "counter",
      "sidecar_http2_sessions_closed_total",
      "Gateway connections that are over, by HTTP/2 error code, or by why they never were HTTP/2.",
      "code",
      closes.read
    )
  ]
  return { recorder, families }
}
