import type { UsageTally } from "../../services/UsageMeter.ts"

/** The counters of one running stream, as a checkpoint keeps them. What is not known is -1. */
export interface OpenCounts {
  readonly slot: number
  readonly tokens: number
  readonly promptTokens: number
  readonly chunks: number
  readonly bytes: number
  readonly notices: number
  readonly replays: number
  readonly heldMillis: number
  readonly ttftMillis: number
  /** 1: the worker reported the tokens. */
  readonly byWorker: number
}

/** Numbers per stream. A checkpoint is one small value, whatever the number of streams, and costs one row to write. */
const width = 10

export const packCounts = (tallies: ReadonlyArray<UsageTally & { readonly slot: number }>): Float64Array => {
  const packed = new Float64Array(tallies.length * width)
  let at = 0
  for (const tally of tallies) {
    packed[at++] = tally.slot
    packed[at++] = tally.tokens
    packed[at++] = tally.promptTokens ?? -1
    packed[at++] = tally.chunks
    packed[at++] = tally.bytes
    packed[at++] = tally.notices
    packed[at++] = tally.replays
    packed[at++] = Math.round(tally.heldMillis)
    packed[at++] = tally.ttftMillis === undefined ? -1 : Math.round(tally.ttftMillis)
    packed[at++] = tally.tokenSource === "worker" ? 1 : 0
  }
  return packed
}

export const unpackCounts = (packed: Float64Array): ReadonlyArray<OpenCounts> => {
  const rows: Array<OpenCounts> = []
  for (let at = 0; at + width <= packed.length; at += width) {
    const [slot, tokens, promptTokens, chunks, bytes, notices, replays, heldMillis, ttftMillis, byWorker] = packed
      .subarray(at, at + width)
    rows.push({
      slot: slot ?? 0,
      tokens: tokens ?? 0,
      promptTokens: promptTokens ?? -1,
      chunks: chunks ?? 0,
      bytes: bytes ?? 0,
      notices: notices ?? 0,
      replays: replays ?? 0,
      heldMillis: heldMillis ?? 0,
      ttftMillis: ttftMillis ?? -1,
      byWorker: byWorker ?? 0
    })
  }
  return rows
}
