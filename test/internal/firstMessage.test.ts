import { describe, expect, it } from "vitest"
import { FirstMessage } from "../../src/internal/stream/firstMessage.ts"
import { frame } from "../../src/internal/wire/frames.ts"
import type { RequestListener } from "../../src/services/Wire.ts"
import { FakeCall } from "../support/fakeCall.ts"

const listener = (heard: Array<string>, onFrames: () => boolean): RequestListener => ({
  onFrames: () => {
    heard.push("frames")
    return onFrames()
  },
  onHalfClose: () => void heard.push("half-close"),
  onDrain: () => undefined,
  onDeparture: (departure) => void heard.push(departure)
})

describe("the first message of a call", () => {
  it("is kept for who takes the call later, while the call is paused", () => {
    const call = new FakeCall("/t.Test/A")
    let firsts = 0
    const requests = new FirstMessage(call, { onFirst: () => void firsts++ })
    requests.begin()
    call.send(Uint8Array.of(1)).send(Uint8Array.of(2)).halfClose()
    expect([firsts, call.flowing, requests.message]).toEqual([1, false, Uint8Array.of(1)])
    const heard: Array<string> = []
    requests.handOver(listener(heard, () => true))
    expect(heard).toEqual(["frames", "frames", "half-close"])
    expect(firsts).toBe(1)
  })

  it("does not stop a call whose new listener reads on before the first batch is answered", () => {
    const call = new FakeCall("/t.Test/A")
    const heard: Array<string> = []
    const requests: FirstMessage = new FirstMessage(call, {
      onFirst: () => {
        requests.handOver(listener(heard, () => false))
        requests.resume()
      }
    })
    requests.begin()
    call.sendFrames(frame(Uint8Array.of(1))).halfClose()
    expect(heard).toEqual(["frames", "half-close"])
  })

  it("tells a departure to whoever listens then", () => {
    const early: Array<string> = []
    const later: Array<string> = []
    const requests = new FirstMessage(new FakeCall("/t.Test/A"), {
      onFirst: () => undefined,
      onDeparture: (departure) => void early.push(departure)
    })
    requests.onDeparture("vanished")
    requests.handOver(listener(later, () => true))
    requests.onDeparture("cancelled")
    expect([early, later]).toEqual([["vanished"], ["cancelled"]])
  })
})
