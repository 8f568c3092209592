import type { Stage, Visit } from "../support/twins/stage.ts"
import { twin } from "../support/twins/twin.ts"

const names = ["a", "b", "c", "d", "e", "f", "g", "h"]
/** No time limit that a slow machine could reach. */
const settings = {
  health: { check_interval_secs: 0.1, reconnect_delay_secs: 0.1 },
  reload: { hold_timeout_secs: 3600 }
}

const reload = async (stage: Stage): Promise<void> => {
  await stage.worker.reloads()
  await stage.status("Reloading")
}

/** Serves them one after the other: each must come when its predecessors have come. */
const serve = async (stage: Stage, calls: ReadonlyArray<Visit>, tokens: number): Promise<void> => {
  for (const call of calls) {
    const at = await stage.atWorker(call.name)
    at.tokens(tokens)
    at.finish()
    await call.ended()
  }
}

twin({
  name: "a reload with streams held: answered in the order in which they came",
  settings,
  tell: async (stage) => {
    await reload(stage)
    const calls = names.map((name) => stage.gateway(name))
    await stage.gauge("sidecar_streams_held", names.length)
    await stage.worker.isWell()
    await serve(stage, calls, 2)
  },
  comesOut: {
    gateways: names.map(() => "t0 t1 <end> OK"),
    workers: names.map((name) => `1 ${name}`),
    status: ["Connected", "Reloading", "Connected"],
    figures: {
      sidecar_requests_success_total: names.length,
      sidecar_requests_failed_total: 0,
      sidecar_tokens_processed_total: 2 * names.length,
      sidecar_streams_replayed_total: 0
    }
  }
})

twin({
  name: "kill -9 in a reload, and a new worker when the sidecar has dialled in vain: the held streams are answered",
  settings,
  tell: async (stage) => {
    await reload(stage)
    const calls = names.map((name) => stage.gateway(name))
    await stage.gauge("sidecar_streams_held", names.length)
    await stage.worker.kill()
    // The link that broke, and two dials.
    await stage.figure("sidecar_worker_connection_errors_total", 3)
    await stage.gauge("sidecar_worker_connection_status", 2)
    await stage.gauge("sidecar_streams_held", names.length)
    await stage.worker.start()
    await serve(stage, calls, 2)
  },
  comesOut: {
    gateways: names.map(() => "t0 t1 <end> OK"),
    workers: names.map((name) => `2 ${name}`),
    status: ["Connected", "Reloading", "Connected"],
    figures: {
      sidecar_requests_success_total: names.length,
      sidecar_requests_failed_total: 0,
      sidecar_streams_replayed_total: 0,
      sidecar_worker_reconnects_total: 1
    }
  }
})

const crowd = Array.from({ length: 300 }, (_, at) => String(at))

twin({
  name: "300 streams and 256 places in a reload: 44 are refused at once, the others are answered",
  settings,
  tell: async (stage) => {
    await reload(stage)
    const calls = crowd.map((name) => stage.gateway(name))
    // They have their answer while the reload goes on and all the others wait.
    for (const call of calls.slice(256)) await call.ended()
    await stage.gauge("sidecar_streams_held", 256)
    await stage.gauge("sidecar_worker_connection_status", 2)
    await stage.worker.isWell()
    await serve(stage, calls.slice(0, 256), 1)
  },
  comesOut: {
    gateways: crowd.map((_, at) =>
      at < 256
        ? "t0 <end> OK"
        : "RESOURCE_EXHAUSTED \"Worker is reloading and too many streams wait for it, please retry in Ns\" " +
          "hold_full hint trailers-only"
    ),
    workers: crowd.slice(0, 256).map((name) => `1 ${name}`),
    status: ["Connected", "Reloading", "Connected"],
    figures: {
      sidecar_requests_total: 300,
      sidecar_requests_success_total: 256,
      sidecar_requests_failed_total: 44,
      sidecar_tokens_processed_total: 256
    }
  }
})

const LATE = "DEADLINE_EXCEEDED \"Deadline exceeded\" deadline delivered=0 trailers-only"

twin({
  name: "cancelled while held, and a deadline while held: the worker sees neither",
  settings,
  tell: async (stage) => {
    await reload(stage)
    const first = stage.gateway("first")
    const cancelled = stage.gateway("cancelled")
    const last = stage.gateway("last")
    await stage.gauge("sidecar_streams_held", 3)
    cancelled.cancel()
    await stage.gauge("sidecar_streams_held", 2)
    await stage.gateway("hurried", { deadlineMillis: 300 }).ended()
    await stage.worker.isWell()
    await serve(stage, [first, last], 2)
  },
  comesOut: {
    gateways: [
      "t0 t1 <end> OK",
      "left",
      "t0 t1 <end> OK",
      LATE
    ],
    workers: ["1 first", "1 last"],
    status: ["Connected", "Reloading", "Connected"],
    figures: {
      sidecar_requests_success_total: 2,
      sidecar_requests_cancelled_total: 1,
      sidecar_requests_failed_total: 1
    }
  },
  // grpc-js answers a call at its deadline by itself, without our trailers.
  onGrpcJs: { "DEADLINE_EXCEEDED \"Deadline exceeded\" without reason trailers-only": LATE }
})
