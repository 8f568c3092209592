import { Clock, Context, Effect, Layer } from "effect"

/** One thing that happened, at a virtual time in milliseconds. */
export interface TraceEvent {
  readonly at: number
  readonly who: "worker" | "gateway" | "timeline" | "test"
  readonly what: string
  /** Which call it is about; numbers of gateway and worker calls are independent. */
  readonly call: number | undefined
  readonly detail: string
}

/**
 * What happened in a simulation, in order. The same seed and the same timeline give the same trace, so two runs can be
 * compared as text.
 */
export class Recorder extends Context.Service<Recorder, {
  /** Synchronous, so that it can be called from where the thing happens. */
  readonly record: (who: TraceEvent["who"], what: string, detail?: string, call?: number) => void
  readonly events: () => ReadonlyArray<TraceEvent>
  /** A number for the next call of a gateway, from 1. */
  readonly nextGatewayCall: () => number
  /** One line per event: `   12.5s worker #3 call arrived /cy.llm.AiInference/StreamPredict`. */
  readonly format: () => string
}>()("cy-llm-sidecar/testing/Recorder") {}

/** One event as a line of text. */
export const formatEvent = (event: TraceEvent): string => {
  const time = `${(event.at / 1000).toFixed(3)}s`.padStart(11)
  const call = event.call === undefined ? "" : ` #${event.call}`
  return `${time} ${event.who}${call} ${event.what}${event.detail === "" ? "" : ` ${event.detail}`}`
}

/** A recorder that keeps everything in memory. */
export const layer: Layer.Layer<Recorder> = Layer.effect(
  Recorder,
  Effect.map(Clock.Clock, (clock) => {
    const events: Array<TraceEvent> = []
    let gatewayCalls = 0
    return Recorder.of({
      record: (who, what, detail = "", call) => {
        events.push({ at: clock.currentTimeMillisUnsafe(), who, what, call, detail })
      },
      events: () => events,
      nextGatewayCall: () => ++gatewayCalls,
      format: () => events.map(formatEvent).join("\n")
    })
  })
)
