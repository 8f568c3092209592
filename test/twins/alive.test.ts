import { expect } from "vitest"
import type { Stage } from "../support/twins/stage.ts"
import { twin } from "../support/twins/twin.ts"

const served = async (stage: Stage, name: string): Promise<void> => {
  const call = stage.gateway(name)
  const at = await stage.atWorker(name)
  at.tokens(2)
  at.finish()
  await call.ended()
}

twin({
  name: "SIGSTOP: given up after failure_threshold probes; SIGCONT: connected again, to the same process",
  // Long enough for a worker that is only short of CPU time.
  settings: {
    health: { check_interval_secs: 0.2, check_timeout_secs: 1, failure_threshold: 3, reconnect_delay_secs: 0.2 }
  },
  tell: async (stage) => {
    await served(stage, "before")
    const running = stage.gateway("running")
    const at = await stage.atWorker("running")
    at.tokens(2)
    await running.received(2)
    await stage.worker.stop()
    await stage.status("Disconnected")
    // It was given up with its link.
    await running.ended()
    await stage.gateway("refused").ended()
    await stage.worker.wake()
    await stage.status("Connected")
    await served(stage, "after")
  },
  comesOut: {
    gateways: [
      "t0 t1 <end> OK",
      "t0 t1 UNAVAILABLE \"Worker connection lost after 2 tokens\" worker_lost delivered=2 safe=false",
      "UNAVAILABLE \"Worker is restarting, please retry in Ns\" worker_disconnected hint trailers-only",
      "t0 t1 <end> OK"
    ],
    workers: ["1 before", "1 running", "1 after"],
    status: ["Connected", "Disconnected HealthTimeout", "Connected"],
    figures: { sidecar_requests_success_total: 2, sidecar_requests_failed_total: 2, sidecar_worker_reconnects_total: 1 }
  },
  really: ({ log }) => {
    const given = log.findIndex((line) => line.startsWith("warn worker not connected (HealthTimeout)"))
    expect(log[given]).toContain("no answer to Health within 1s, 3 times in a row")
    expect(log.slice(0, given).filter((line) => line.startsWith("debug worker probe failed"))).toHaveLength(2)
  }
})

twin({
  name: "another worker on the same path while streams run: they finish where they are, new ones go to the new one",
  // The watch alone brings it about.
  settings: { health: { check_interval_secs: 0.2 } },
  tell: async (stage) => {
    const old = stage.gateway("old")
    const at = await stage.atWorker("old")
    at.tokens(2)
    await old.received(2)
    await stage.worker.start()
    // The first probe proves the new process, the second comes when it has taken over.
    await stage.worker.asked(2)
    await served(stage, "new")
    at.tokens(1)
    await old.received(3)
    at.finish()
    await old.ended()
  },
  comesOut: {
    gateways: ["t0 t1 t2 <end> OK", "t0 t1 <end> OK"],
    workers: ["1 old", "2 new"],
    status: ["Connected"],
    figures: { sidecar_requests_success_total: 2, sidecar_requests_failed_total: 0, sidecar_streams_replayed_total: 0 }
  }
})

twin({
  name: "GOAWAY: the running stream finishes, a new one takes a new connection",
  engine: "http2",
  settings: { health: { check_interval_secs: 0.2, reconnect_delay_secs: 0.1 } },
  tell: async (stage) => {
    const old = stage.gateway("old")
    const at = await stage.atWorker("old")
    at.tokens(1)
    await old.received(1)
    await stage.worker.goAway(at)
    await stage.worker.connections(2)
    // Whether the new connection is proved by now or not: the stream is not refused.
    await served(stage, "new")
    await stage.figure("sidecar_worker_reconnects_total", 1)
    at.tokens(1)
    at.finish()
    await old.ended()
  },
  comesOut: {
    gateways: ["t0 t1 <end> OK", "t0 t1 <end> OK"],
    workers: ["1 old", "1 new"],
    status: ["Connected"],
    figures: {
      sidecar_requests_success_total: 2,
      sidecar_requests_failed_total: 0,
      // A worker that leaves in good order is no error.
      sidecar_worker_connection_errors_total: 0,
      sidecar_worker_reconnects_total: 1
    }
  },
  really: ({ log }) => expect(log.filter((line) => line.startsWith("warn"))).toEqual([])
})
