import { Status } from "../../../src/index.ts"

/**
 * A saturated worker is not down: every thread streams, so Health never answers, and the frames are the evidence of life.
 * What must come of it, with a worker's real thread pool and in the simulation.
 */
export const threads = 2

export const settings = {
  health: { check_interval_secs: 0.2, check_timeout_secs: 0.5, failure_threshold: 2 }
}

/** Probes in vain while frames flow: more than twice what ends the link of a silent worker. */
export const probesInVain = 5

export interface Outcome {
  /** The worker's status when so many probes were in vain. */
  readonly status: ReadonlyArray<string>
  /** How often the operator was told of the key that would help. */
  readonly hints: number
  /** What each gateway is told when the worker is killed at last. */
  readonly ends: ReadonlyArray<string>
}

export const comesOut: Outcome = {
  status: ["Connected"],
  hints: 1,
  ends: Array.from({ length: threads }, () => "UNAVAILABLE worker_lost, all that was delivered is counted")
}

/** A gateway's end in words; `seen`: the tokens that it has. */
export const endInWords = (code: number, trailer: (key: string) => string | undefined, seen: number): string =>
  `${Status.codeName(code)} ${trailer("cy-reason")}, ` +
  (trailer("cy-chunks-delivered") === String(seen) ? "all that was delivered is counted" : `not ${seen} counted`)

/** How often the hint was said. On some wires the probe that was given up counts as open, too. */
export const hintsIn = (lines: ReadonlyArray<string>): number =>
  lines.filter((line) =>
    /the worker's Health answers late while [23] calls are open:.*\[server\] max_worker_streams/.test(line)
  )
    .length
