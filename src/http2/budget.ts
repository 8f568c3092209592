/**
 * What a peer can make us do for nothing, and how much of it is fair. Each kind has a bucket: `burst` at once, and
 * `perSecond` for as long as it likes; beyond it the connection is closed with ENHANCE_YOUR_CALM (RFC 9113 §10.5).
 */
export type LimitName =
  /** Streams that the peer opened and reset (CVE-2023-44487). */
  | "resets"
  /** Streams that the peer's own mistakes made us reset (CVE-2025-8671). */
  | "made_resets"
  | "settings"
  | "pings"
  /** DATA without a byte and without END_STREAM. */
  | "empty_data"
  | "window_updates"
  /** PRIORITY and frames of unknown types. */
  | "ignored_frames"
  /** Frames on streams that are closed. */
  | "stray_frames"
  /** A header block of too many frames or bytes (CVE-2024-27316). */
  | "header_block"
  /** Answers to the peer's control frames that it does not read. */
  | "unread_output"

/** A bucket's size and how fast it fills again. */
export interface Rate {
  readonly burst: number
  readonly perSecond: number
}

/** The rates that a connection allows its peer. */
export type Rates = Readonly<Record<RatedLimit, Rate>>

/** Limits that are rates; the others are sizes. */
export type RatedLimit = Exclude<LimitName, "header_block" | "unread_output">

/** What no well-behaved peer comes near. */
export const defaultRates: Rates = {
  resets: { burst: 5000, perSecond: 1000 },
  made_resets: { burst: 500, perSecond: 100 },
  settings: { burst: 100, perSecond: 10 },
  pings: { burst: 1000, perSecond: 500 },
  empty_data: { burst: 500, perSecond: 100 },
  window_updates: { burst: 100_000, perSecond: 100_000 },
  ignored_frames: { burst: 1000, perSecond: 500 },
  stray_frames: { burst: 10_000, perSecond: 2000 }
}

/** The buckets of one connection. Time comes to them in {@link Budget.refill}. */
export class Budget {
  readonly #rates: Rates
  resets: number
  madeResets: number
  settings: number
  pings: number
  emptyData: number
  windowUpdates: number
  ignoredFrames: number
  strayFrames: number

  constructor(rates: Rates) {
    this.#rates = rates
    this.resets = rates.resets.burst
    this.madeResets = rates.made_resets.burst
    this.settings = rates.settings.burst
    this.pings = rates.pings.burst
    this.emptyData = rates.empty_data.burst
    this.windowUpdates = rates.window_updates.burst
    this.ignoredFrames = rates.ignored_frames.burst
    this.strayFrames = rates.stray_frames.burst
  }

  /** Time has passed. */
  refill(seconds: number): void {
    const rates = this.#rates
    this.resets = filled(this.resets, rates.resets, seconds)
    this.madeResets = filled(this.madeResets, rates.made_resets, seconds)
    this.settings = filled(this.settings, rates.settings, seconds)
    this.pings = filled(this.pings, rates.pings, seconds)
    this.emptyData = filled(this.emptyData, rates.empty_data, seconds)
    this.windowUpdates = filled(this.windowUpdates, rates.window_updates, seconds)
    this.ignoredFrames = filled(this.ignoredFrames, rates.ignored_frames, seconds)
    this.strayFrames = filled(this.strayFrames, rates.stray_frames, seconds)
  }
}

const filled = (have: number, rate: Rate, seconds: number): number =>
  Math.min(rate.burst, have + rate.perSecond * seconds)
