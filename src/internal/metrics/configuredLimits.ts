import type { Settings } from "../../services/SidecarConfig.ts"

/** The bounds in the settings, by the names of their keys. One that means "no bound" is not among them. */
export const configuredLimits = (
  { health, metering, observability, reload, server, tenants }: Settings
): Readonly<Record<string, number>> => {
  const orNone = (limits: Readonly<Record<string, number>>) =>
    Object.fromEntries(Object.entries(limits).filter(([, value]) => value > 0))
  const {
    first_message_timeout_secs,
    first_token_timeout_secs,
    max_buffered_request_bytes,
    max_concurrent_streams,
    max_connections,
    max_connections_per_address,
    max_message_bytes,
    max_metadata_bytes,
    max_own_calls,
    max_queued_streams,
    max_resets_per_sec,
    max_unfinished_bytes,
    queue_timeout_secs,
    slow_reader_timeout_secs,
    stream_idle_timeout_secs
  } = server
  const { hold_on_disconnect_secs, hold_timeout_secs, max_held_bytes, max_held_streams, max_reload_secs } = reload
  return {
    max_concurrent_streams,
    ...orNone({
      max_worker_streams: server.max_worker_streams,
      max_worker_cancels_per_sec: server.max_worker_cancels_per_sec,
      max_tenant_streams: tenants.max_tenant_streams,
      max_tenant_tokens_per_min: tenants.max_tenant_tokens_per_min
    }),
    max_queued_streams,
    max_own_calls,
    max_held_streams,
    max_held_bytes,
    replay_max_bytes: reload.replay_max_bytes,
    max_message_bytes,
    max_metadata_bytes,
    max_unfinished_bytes,
    max_buffered_request_bytes,
    max_connections,
    max_connections_per_address,
    max_resets_per_sec,
    metrics_max_connections: observability.metrics_max_connections,
    offline_queue_size: metering.offline_queue_size,
    queue_timeout_secs,
    first_message_timeout_secs,
    first_token_timeout_secs,
    stream_idle_timeout_secs,
    slow_reader_timeout_secs,
    hold_timeout_secs,
    hold_on_disconnect_secs,
    max_reload_secs,
    check_timeout_secs: health.check_timeout_secs
  }
}
