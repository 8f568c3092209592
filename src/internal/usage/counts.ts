import { tokensOf, type UsageTally } from "../../services/UsageTally.ts"

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

/**
 * The counters of running streams as one value, which costs one row to write: per stream ten varints (protobuf's), in the
 * order of {@link OpenCounts}; what may be -1 is one more than itself. A stream that generates takes about 15 bytes.
 */
export type PackedCounts = Uint8Array

export const noCounts: PackedCounts = new Uint8Array(0)

/** Ten varints of at most 8 bytes, as no counter is beyond 2^53. */
const mostBytes = 80

/** Writes a whole number from 0 to 2^53 (0 for less); answers where the next one goes. */
const putVarint = (bytes: Uint8Array, from: number, value: number): number => {
  let at = from
  let rest = Math.min(Math.max(0, value), Number.MAX_SAFE_INTEGER)
  while (rest >= 0x80) {
    bytes[at++] = (rest % 0x80) | 0x80
    rest = Math.floor(rest / 0x80)
  }
  bytes[at++] = rest
  return at
}

/** Packs the counters of one stream after the other; keeps the memory it works in for the next time. */
export const makeCountsPacker = () => {
  let scratch = new Uint8Array(64 * mostBytes)
  let at = 0
  return {
    add: (tally: UsageTally & { readonly slot: number }): void => {
      if (scratch.length - at < mostBytes) {
        const wider = new Uint8Array(scratch.length * 2)
        wider.set(scratch)
        scratch = wider
      }
      at = putVarint(scratch, at, tally.slot)
      at = putVarint(scratch, at, tokensOf(tally))
      at = putVarint(scratch, at, 1 + (tally.promptTokens ?? -1))
      at = putVarint(scratch, at, tally.chunks)
      at = putVarint(scratch, at, tally.bytes)
      at = putVarint(scratch, at, tally.notices)
      at = putVarint(scratch, at, tally.replays)
      at = putVarint(scratch, at, Math.round(tally.heldMillis))
      at = putVarint(scratch, at, 1 + Math.round(tally.ttftMillis ?? -1))
      at = putVarint(scratch, at, tally.workerTokens === undefined ? 0 : 1)
    },
    /** What was added since the last time. */
    take: (): PackedCounts => {
      const packed = scratch.slice(0, at)
      at = 0
      return packed
    }
  }
}

/** What {@link makeCountsPacker} packed; a stream that is not there whole is left out. */
export const unpackCounts = (packed: PackedCounts): ReadonlyArray<OpenCounts> => {
  const rows: Array<OpenCounts> = []
  let at = 0
  const next = (): number => {
    let value = 0
    let factor = 1
    let byte = 0x80
    while (byte >= 0x80) {
      byte = packed[at++] ?? 0
      value += (byte & 0x7f) * factor
      factor *= 128
    }
    return Math.min(value, Number.MAX_SAFE_INTEGER)
  }
  while (at < packed.length) {
    const row: OpenCounts = {
      slot: next(),
      tokens: next(),
      promptTokens: next() - 1,
      chunks: next(),
      bytes: next(),
      notices: next(),
      replays: next(),
      heldMillis: next(),
      ttftMillis: next() - 1,
      byWorker: next()
    }
    if (at <= packed.length) rows.push(row)
  }
  return rows
}
