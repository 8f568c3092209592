import { expect } from "vitest"
import type { AtWorker, Stage } from "../support/twins/stage.ts"
import { twin } from "../support/twins/twin.ts"

const finish = (at: AtWorker): void => {
  at.tokens(1)
  at.finish()
}

const served = async (stage: Stage, name: string): Promise<void> => {
  const call = stage.gateway(name)
  finish(await stage.atWorker(name))
  await call.ended()
}

const BROKEN =
  "UNAVAILABLE \"Worker connection lost after 0 tokens\" worker_lost delivered=0 safe=true hint trailers-only"

twin({
  name: "a worker that answers Health and breaks each stream: the circuit opens, and closes after a good probe",
  engine: "http2",
  settings: { circuit_breaker: { trip_after: 3, open_secs: 5 }, reload: { replay_max_bytes: 0 } },
  tell: async (stage) => {
    for (const name of ["1st", "2nd", "3rd"]) {
      const call = stage.gateway(name)
      const at = await stage.atWorker(name)
      at.reset()
      await call.ended()
    }
    await stage.gauge("sidecar_circuit_state", 2)
    const retryAfter = await stage.gateway("refused").ended()
    expect(retryAfter).toBeLessThanOrEqual(5000)
    // A gateway that does as it is told is the probe.
    await stage.pass(retryAfter ?? 0)
    await served(stage, "probe")
    await stage.gauge("sidecar_circuit_state", 0)
    await served(stage, "next")
  },
  comesOut: {
    gateways: [
      BROKEN,
      BROKEN,
      BROKEN,
      "UNAVAILABLE \"Worker keeps failing, please retry in Ns\" circuit_open hint trailers-only",
      "t0 <end> OK",
      "t0 <end> OK"
    ],
    workers: ["1 1st", "1 2nd", "1 3rd", "1 probe", "1 next"],
    status: ["Connected"],
    figures: { sidecar_requests_success_total: 2, sidecar_requests_failed_total: 4 }
  }
})

twin({
  name: "two places at the worker: the others wait, lower priority numbers first, one too many is refused",
  settings: { server: { max_worker_streams: 2, max_queued_streams: 4, queue_timeout_secs: 3600 } },
  tell: async (stage) => {
    const [first, second] = [stage.gateway("first"), stage.gateway("second")]
    const atFirst = await stage.atWorker("first")
    const atSecond = await stage.atWorker("second")
    const later = [stage.gateway("5", { priority: 5 }), stage.gateway("1", { priority: 1 })]
    later.push(stage.gateway("3", { priority: 3 }), stage.gateway("3 again", { priority: 3 }))
    await stage.gauge("sidecar_streams_queued", 4)
    await stage.gateway("one too many").ended()
    finish(atFirst)
    await first.ended()
    for (const name of ["1", "3", "3 again"]) {
      const at = await stage.atWorker(name)
      finish(at)
      await later.find((call) => call.name === name)?.ended()
    }
    finish(atSecond)
    await second.ended()
    finish(await stage.atWorker("5"))
  },
  comesOut: {
    gateways: [
      "t0 <end> OK",
      "t0 <end> OK",
      "t0 <end> OK",
      "t0 <end> OK",
      "t0 <end> OK",
      "t0 <end> OK",
      "RESOURCE_EXHAUSTED \"Worker is busy and too many streams wait for it, please retry in Ns\" " +
      "queue_full hint trailers-only"
    ],
    workers: ["1 first", "1 second", "1 1", "1 3", "1 3 again", "1 5"],
    status: ["Connected"],
    figures: { sidecar_requests_success_total: 6, sidecar_requests_failed_total: 1, sidecar_streams_queued: 0 }
  }
})
