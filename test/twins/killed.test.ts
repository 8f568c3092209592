import { expect } from "vitest"
import type { Stage } from "../support/twins/stage.ts"
import { twin } from "../support/twins/twin.ts"

const settings = {
  health: { check_interval_secs: 0.1, reconnect_delay_secs: 0.1 },
  reload: { hold_timeout_secs: 3600 }
}

const RESTARTING = "UNAVAILABLE \"Worker is restarting, please retry in Ns\" worker_disconnected hint trailers-only"

const served = async (stage: Stage, name: string): Promise<void> => {
  const call = stage.gateway(name)
  const at = await stage.atWorker(name)
  at.tokens(2)
  at.finish()
  await call.ended()
}

twin({
  name: "kill -9 before the first token: sent once more, byte for byte, and no notice twice",
  settings,
  tell: async (stage) => {
    const silent = stage.gateway("silent")
    const loading = stage.gateway("loading")
    const first = await stage.atWorker("silent")
    const before = await stage.atWorker("loading")
    before.notice("[模型加载] 1\n")
    before.notice("[模型加载] 2\n")
    await loading.received(2)
    await stage.worker.kill()
    await stage.status("Disconnected")
    await stage.gauge("sidecar_streams_held", 2)
    await stage.worker.start()
    const again = await stage.atWorker("silent")
    expect([...again.request]).toEqual([...first.request])
    again.tokens(3)
    again.finish()
    await silent.ended()
    const after = await stage.atWorker("loading")
    expect([...after.request]).toEqual([...before.request])
    // The new process loads as well, and says one thing more about it.
    after.notice("[模型加载] 1\n")
    after.notice("[模型加载] 2\n")
    after.notice("[模型加载] 3\n")
    after.tokens(2)
    after.finish()
    await loading.ended()
  },
  comesOut: {
    gateways: ["t0 t1 t2 <end> OK", "[模型加载] 1 [模型加载] 2 [模型加载] 3 t0 t1 <end> OK"],
    workers: ["1 silent", "1 loading", "2 silent", "2 loading"],
    status: ["Connected", "Disconnected LinkBroken", "Connected"],
    figures: {
      sidecar_requests_success_total: 2,
      sidecar_requests_failed_total: 0,
      sidecar_streams_replayed_total: 2,
      sidecar_tokens_processed_total: 5
    }
  }
})

twin({
  name: "kill -9 twice before the first token: sent once more and no oftener",
  settings,
  tell: async (stage) => {
    const call = stage.gateway("unlucky")
    await stage.atWorker("unlucky")
    await stage.worker.kill()
    await stage.status("Disconnected")
    await stage.worker.start()
    await stage.atWorker("unlucky")
    await stage.worker.kill()
    await call.ended()
    await stage.status("Disconnected")
    await stage.worker.start()
    await stage.status("Connected")
    await served(stage, "next")
  },
  comesOut: {
    gateways: [
      "UNAVAILABLE \"Worker connection lost after 0 tokens\" worker_lost delivered=0 safe=true hint trailers-only",
      "t0 t1 <end> OK"
    ],
    workers: ["1 unlucky", "2 unlucky", "3 next"],
    status: ["Connected", "Disconnected LinkBroken", "Connected", "Disconnected LinkBroken", "Connected"],
    figures: {
      sidecar_requests_success_total: 1,
      sidecar_requests_failed_total: 1,
      sidecar_streams_replayed_total: 1,
      sidecar_worker_reconnects_total: 2
    }
  }
})

twin({
  name: "kill -9 in mid-stream: what came is delivered and counted, and nothing is sent again",
  settings,
  tell: async (stage) => {
    const talking = stage.gateway("talking")
    const done = stage.gateway("done")
    const at = await stage.atWorker("talking")
    const other = await stage.atWorker("done")
    at.tokens(3)
    await talking.received(3)
    // Its answer is complete, only the worker's OK is missing.
    other.tokens(1)
    other.finish()
    await done.received(2)
    await stage.worker.kill()
    await talking.ended()
    await done.ended()
    await stage.status("Disconnected")
    await stage.gateway("refused").ended()
    await stage.worker.start()
    await stage.status("Connected")
    await served(stage, "next")
  },
  comesOut: {
    gateways: [
      "t0 t1 t2 UNAVAILABLE \"Worker connection lost after 3 tokens\" worker_lost delivered=3 safe=false",
      "t0 <end> OK",
      RESTARTING,
      "t0 t1 <end> OK"
    ],
    workers: ["1 talking", "1 done", "2 next"],
    status: ["Connected", "Disconnected LinkBroken", "Connected"],
    figures: {
      sidecar_requests_success_total: 2,
      sidecar_requests_failed_total: 2,
      sidecar_streams_replayed_total: 0,
      sidecar_tokens_processed_total: 6,
      sidecar_active_connections: 0
    }
  }
})

const HOUR_SECS = 3600

twin({
  name: "a worker that is back is dialled because its socket appeared, though the schedule would wait an hour",
  settings: {
    health: { check_interval_secs: HOUR_SECS, reconnect_delay_secs: HOUR_SECS, max_reconnect_attempts: 0 }
  },
  tell: async (stage) => {
    await served(stage, "before")
    await stage.worker.kill()
    await stage.status("Disconnected")
    const retryAfter = await stage.gateway("refused").ended()
    // What the schedule had in mind: an hour, spread by twice ±20 %.
    expect(retryAfter).toBeGreaterThan(HOUR_SECS * 1000 * 0.6)
    await stage.worker.start()
    await stage.status("Connected")
    await served(stage, "after")
  },
  comesOut: {
    gateways: ["t0 t1 <end> OK", RESTARTING, "t0 t1 <end> OK"],
    workers: ["1 before", "2 after"],
    status: ["Connected", "Disconnected LinkBroken", "Connected"],
    figures: { sidecar_worker_reconnects_total: 1, sidecar_requests_success_total: 2, sidecar_requests_failed_total: 1 }
  },
  really: ({ log }) => {
    const lost = log.findIndex((line) => line.includes("worker not connected (LinkBroken)"))
    const back = log.indexOf("info connected to worker", lost)
    const between = log.slice(lost, back)
    const seen = between.findIndex((line) => /^debug the worker's address (appeared|replaced)$/.test(line))
    const dialled = between.findIndex((line) => line.startsWith("debug dialling the worker at "))
    expect({ between, seen: seen > 0, dialled: dialled > seen }).toEqual({ between, seen: true, dialled: true })
    // No dial before that: the schedule asked for none.
    expect(between.slice(0, seen).filter((line) => line.includes("dialling"))).toEqual([])
  }
})
