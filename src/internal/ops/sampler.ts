/**
 * Decides at its head whether a stream is traced. `parentSampled`: the flag of the caller's `traceparent`; `undefined`:
 * there is none, the trace begins here.
 */
export type Sampler = (traceId: string, parentSampled: boolean | undefined) => boolean

/** Hexadecimal digits of a trace id that decide, 52 bits of its second half: an exact number, and what other SDKs look at. */
const [from, to] = [16, 29]
const range = 2 ** 52

/** That part of all traces: one that is taken with a smaller ratio is taken with a larger one, too. */
const traceIdRatio = (ratio: number): Sampler => (traceId) =>
  Number.parseInt(traceId.slice(from, to), 16) < ratio * range

const on: Sampler = () => true
const off: Sampler = () => false

const parentBased = (root: Sampler): Sampler => (traceId, parentSampled) => parentSampled ?? root(traceId, undefined)

/** The caller decides; a trace that begins here is taken. */
export const defaultSampler: Sampler = parentBased(on)

/** The samplers of OpenTelemetry's `OTEL_TRACES_SAMPLER` that decide by themselves; `ratio`: 0 to 1. */
const samplers: ReadonlyMap<string, (ratio: number) => Sampler> = new Map([
  ["always_on", () => on],
  ["always_off", () => off],
  ["traceidratio", traceIdRatio],
  ["parentbased_always_on", () => defaultSampler],
  ["parentbased_always_off", () => parentBased(off)],
  ["parentbased_traceidratio", (ratio: number) => parentBased(traceIdRatio(ratio))]
])

export const samplerNames: ReadonlyArray<string> = [...samplers.keys()]

/** The sampler of that name; `undefined`: there is none. */
export const samplerOf = (name: string, ratio: number): Sampler | undefined => samplers.get(name)?.(ratio)
