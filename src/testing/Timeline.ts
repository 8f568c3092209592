import { Data, Result } from "effect"
import { LinkFault } from "../services/WorkerChannel.ts"

/** What can be done to a scripted worker, as data: printed, compared, shrunk. Times are seconds unless they say millis. */
export type Action = Data.TaggedEnum<{
  /** SIGKILL: every link breaks, the socket file stays behind. `die` */
  Die: {}
  /**
   * SIGTERM: GOAWAY on every link, its socket file goes, running calls have so many seconds to finish; then those that
   * are left end with UNAVAILABLE "Cancelling all calls", and it is gone. `stop within 5s`
   */
  Stop: { readonly seconds: number }
  /** Ends and removes its socket file. `vanish` */
  Vanish: {}
  /** A fresh process listens on the address. What was done to the one before is forgotten. `come back` */
  ComeBack: {}
  /** A fresh process takes over the address while the old one goes on with its calls. `replace` */
  Replace: {}
  /** GOAWAY on every link: running calls finish, new ones need a new link. `send GOAWAY` */
  GoAway: {}
  /**
   * GOAWAY on every link of this process, also on later ones, when the link is that old (`max_connection_age`); 0: no
   * more. `renew connections each 30s`
   */
  Renew: { readonly seconds: number }
  /** SIGSTOP: nothing moves, new connections are accepted by the system and never greeted. `hang` */
  Hang: {}
  /** SIGCONT. `wake` */
  Wake: {}
  /** All threads busy: streams go on, Health and new streams wait. `saturate` */
  Saturate: {}
  /** `relieve` */
  Relieve: {}
  /** `healthy = false`, `healthy = true` */
  Healthy: { readonly value: boolean }
  /** Health ends with UNIMPLEMENTED. `fail health`, `answer health` */
  HealthFails: { readonly value: boolean }
  /**
   * Loads a model: Health says `status = reloading`, with `eta_seconds` if `eta`. With `gone` the process also leaves and
   * is back at the end. `reload for 30s [without eta] [and be gone]`
   */
  Reload: { readonly seconds: number; readonly eta: boolean; readonly gone: boolean }
  /** New connections are accepted and never greeted. `accept and never answer`, `answer again` */
  Silent: { readonly value: boolean }
  /** Each frame comes so much later. `answer slowly 200ms`, `answer slowly 0ms` */
  Slow: { readonly millis: number }
  /** The link breaks once that many more frames have been sent over it. `break after 5 frames` */
  BreakAfter: { readonly frames: number }
  /** Every link breaks, the process lives. `break links` */
  BreakLinks: {}
  /** Every stream is reset, the links live. `reset streams` */
  ResetStreams: {}
  /** Dials fail so until it comes back. `unreachable PermissionDenied` */
  Unreachable: { readonly fault: LinkFault }
}>
export const Action = Data.taggedEnum<Action>()

/** An action and when, in virtual milliseconds from the start of the worker's layer. */
export interface Step {
  readonly atMillis: number
  readonly action: Action
}

/** Steps in any order. */
export type Timeline = ReadonlyArray<Step>

/** A line of a timeline that nobody understands. */
export class TimelineError extends Data.TaggedError("TimelineError")<{ readonly message: string }> {}

/** `at(10, Action.Die())`: after 10 seconds. */
export const at = (seconds: number, action: Action): Step => ({ atMillis: seconds * 1000, action })

const time = (millis: number): string => millis % 1000 === 0 ? `${millis / 1000}s` : `${millis}ms`

/** An action in words; {@link parse} understands them. */
export const formatAction = (action: Action): string => {
  switch (action._tag) {
    case "Die":
      return "die"
    case "Stop":
      return `stop within ${time(action.seconds * 1000)}`
    case "Vanish":
      return "vanish"
    case "ComeBack":
      return "come back"
    case "Replace":
      return "replace"
    case "GoAway":
      return "send GOAWAY"
    case "Renew":
      return `renew connections each ${time(action.seconds * 1000)}`
    case "Hang":
      return "hang"
    case "Wake":
      return "wake"
    case "Saturate":
      return "saturate"
    case "Relieve":
      return "relieve"
    case "Healthy":
      return `healthy = ${action.value}`
    case "HealthFails":
      return action.value ? "fail health" : "answer health"
    case "Reload":
      return `reload for ${time(action.seconds * 1000)}${action.eta ? "" : " without eta"}${
        action.gone ? " and be gone" : ""
      }`
    case "Silent":
      return action.value ? "accept and never answer" : "answer again"
    case "Slow":
      return `answer slowly ${time(action.millis)}`
    case "BreakAfter":
      return `break after ${action.frames} frames`
    case "BreakLinks":
      return "break links"
    case "ResetStreams":
      return "reset streams"
    case "Unreachable":
      return `unreachable ${action.fault}`
  }
}

/** A timeline as text, in order of time: one `at 10s: die` a line. */
export const format = (timeline: Timeline): string =>
  inOrder(timeline).map((step) => `at ${time(step.atMillis)}: ${formatAction(step.action)}`).join("\n")

/** The steps in order of time; steps of the same moment keep their order. */
export const inOrder = (timeline: Timeline): Timeline => [...timeline].sort((a, b) => a.atMillis - b.atMillis)

const fixed: ReadonlyMap<string, Action> = new Map(
  [
    Action.Die(),
    Action.Vanish(),
    Action.ComeBack(),
    Action.Replace(),
    Action.GoAway(),
    Action.Hang(),
    Action.Wake(),
    Action.Saturate(),
    Action.Relieve(),
    Action.Healthy({ value: true }),
    Action.Healthy({ value: false }),
    Action.HealthFails({ value: true }),
    Action.HealthFails({ value: false }),
    Action.Silent({ value: true }),
    Action.Silent({ value: false }),
    Action.BreakLinks(),
    Action.ResetStreams(),
    ...LinkFault.literals.map((fault) => Action.Unreachable({ fault }))
  ].map((action) => [formatAction(action), action])
)

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

const millisOf = (text: string | undefined): number | undefined => {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text ?? "")
  const unit = UNITS[match?.[2] ?? ""]
  return match === null || unit === undefined ? undefined : Number(match[1]) * unit
}

const parseAction = (words: string): Action | undefined => {
  const known = fixed.get(words)
  if (known !== undefined) return known
  const reload = /^reload for (\S+)( without eta)?( and be gone)?$/.exec(words)
  const reloadMillis = millisOf(reload?.[1])
  if (reload !== null && reloadMillis !== undefined) {
    return Action.Reload({ seconds: reloadMillis / 1000, eta: reload[2] === undefined, gone: reload[3] !== undefined })
  }
  const stop = millisOf(/^stop within (\S+)$/.exec(words)?.[1])
  if (stop !== undefined) return Action.Stop({ seconds: stop / 1000 })
  const renew = millisOf(/^renew connections each (\S+)$/.exec(words)?.[1])
  if (renew !== undefined) return Action.Renew({ seconds: renew / 1000 })
  const slow = millisOf(/^answer slowly (\S+)$/.exec(words)?.[1])
  if (slow !== undefined) return Action.Slow({ millis: slow })
  const frames = /^break after (\d+) frames?$/.exec(words)?.[1]
  return frames === undefined ? undefined : Action.BreakAfter({ frames: Number(frames) })
}

/**
 * A timeline from text, one `at 10s: die` a line; empty lines and `# comments` are skipped. The words of each action stand
 * at {@link Action}; times are `250ms`, `10s`, `5m`, `1h`.
 */
export const parse = (text: string): Result.Result<Timeline, TimelineError> => {
  const steps: Array<Step> = []
  for (const [number, raw] of text.split("\n").entries()) {
    const line = raw.replace(/#.*$/, "").trim().replaceAll(/\s+/g, " ")
    if (line === "") continue
    const match = /^at (\S+): (.+)$/.exec(line)
    const atMillis = millisOf(match?.[1])
    const action = parseAction(match?.[2] ?? "")
    if (atMillis === undefined || action === undefined) {
      const wants = "expected \"at 10s: die\" (see the actions of Timeline)"
      return Result.fail(new TimelineError({ message: `timeline, line ${number + 1}: "${line}": ${wants}` }))
    }
    steps.push({ atMillis, action })
  }
  return Result.succeed(steps)
}
