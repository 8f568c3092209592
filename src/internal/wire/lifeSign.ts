import { Effect } from "effect"

/** What a connection must be able to ask. The acknowledgement may never come. */
export interface Asking {
  /** By PING (RFC 9113 §6.7). */
  ping(onAck: () => void): void
  /** By SETTINGS without an entry (§6.5.3). */
  askBySettings(onAck: () => void): void
}

/**
 * So many PINGs are sent while nothing else comes from the worker. gRPC servers count those that come without data of
 * their own in between and close the connection (GOAWAY ENHANCE_YOUR_CALM "too_many_pings"): C-core at the fifth,
 * others after two.
 */
const MAX_PINGS = 2

/**
 * A sign of life of the peer's HTTP/2 endpoint: completes with the acknowledgement. First a PING; when more of them would
 * be held against us, an empty SETTINGS frame, which has to be acknowledged as well (RFC 9113 §6.5.3) and is not counted
 * by any server that we know of. A peer that leaves one of the two unanswered is asked by the other next time.
 *
 * `heard`: grows when the worker sends headers or data, with which servers begin to count anew.
 */
export const lifeSign = (connection: Asking, heard: () => number): Effect.Effect<void> => {
  let heardAt = heard()
  let pings = 0
  let last: "ping" | "settings" = "ping"
  let unanswered = false
  const choose = (): "ping" | "settings" => {
    if (heard() !== heardAt) pings = 0
    heardAt = heard()
    if (unanswered) return last === "ping" ? "settings" : "ping"
    return pings < MAX_PINGS ? "ping" : "settings"
  }
  return Effect.callback<void>((resume) => {
    const kind = choose()
    last = kind
    unanswered = true
    const acknowledged = (): void => {
      unanswered = false
      resume(Effect.void)
    }
    if (kind === "ping") {
      pings++
      connection.ping(acknowledged)
    } else connection.askBySettings(acknowledged)
  })
}
