import type { Recorder } from "./events.ts"
import { type StatusDetails, statusDetailsOf } from "./protobuf.ts"

/** What ended a call, as the gateway saw it. */
export interface FinalStatus {
  readonly code: number
  readonly message: string
  /** Lower-case keys; `-bin` values in base64, repeated keys as several items. */
  readonly trailers: ReadonlyMap<string, ReadonlyArray<string>>
  /** No response headers came before: Trailers-Only, or no answer at all. */
  readonly trailersOnly: boolean
}

/** A call seen from the gateway: both clients of the tests give this. */
export interface GatewayCall {
  /** Messages without their prefix. */
  readonly messages: Recorder<Buffer>
  /** Initial metadata. */
  readonly headers: Promise<ReadonlyMap<string, ReadonlyArray<string>>>
  /** Completes when the call is over and every message that will come has come. */
  readonly status: Promise<FinalStatus>
  readonly send: (...messages: ReadonlyArray<Uint8Array>) => void
  readonly halfClose: () => void
  readonly cancel: () => void
}

/** What a gateway asks with. */
export interface CallOptions {
  readonly path?: string
  readonly metadata?: ReadonlyArray<readonly [string, string | Uint8Array]>
  readonly timeoutMillis?: number
  readonly requests?: ReadonlyArray<Uint8Array>
  /** Whether the call is half-closed after `requests`; default true. */
  readonly halfClose?: boolean
}

export const PREDICT = "/cy.llm.AiInference/StreamPredict"

/** The only value of a trailer. */
export const trailer = (status: FinalStatus, key: string): string | undefined => status.trailers.get(key)?.[0]

/** Why the sidecar ended or refused the call; `undefined`: the status is the worker's, or the gateway's own library's. */
export const reasonOf = (status: FinalStatus): string | undefined => trailer(status, "cy-reason")

/** The details that `grpc-status-details-bin` carries. */
export const detailsOf = (status: FinalStatus): StatusDetails | undefined => {
  const value = trailer(status, "grpc-status-details-bin")
  return value === undefined ? undefined : statusDetailsOf(Buffer.from(value, "base64"))
}

/** Waits for the end and gives everything: for calls that are over by themselves. */
export const collect = async (
  call: GatewayCall
): Promise<{ readonly status: FinalStatus; readonly messages: ReadonlyArray<Buffer> }> => {
  const status = await call.status
  return { status, messages: call.messages.all }
}
