import { Context } from "effect"

/** The operators' port: `/metrics`, `/healthz`, `/readyz`, the status page and its `/status.json`. */
export class OpsHttp extends Context.Service<OpsHttp, {
  /** Where it listens, as `host:port`; the real port, also where 0 was asked for. */
  readonly address: string
  readonly port: number
}>()("cy-llm-sidecar/OpsHttp") {}
