import { describe, expect, it, onTestFinished } from "vitest"
import { emptyLab, type Lab } from "../support/lab.ts"
import { soak } from "../support/run/soak.ts"
import { wires } from "../support/sidecar.ts"
import {
  type Call,
  calls,
  churn,
  python,
  PythonWorker,
  type PythonWorkerOptions,
  trailing,
  withoutPython
} from "./python.ts"

const SATURATED = "sidecar_worker_saturated_checks_total"

/** Health is asked often, so that a row of late answers does not take long. */
const HASTY = {
  SIDECAR_CHECK_INTERVAL_SECS: "0.2",
  SIDECAR_CHECK_TIMEOUT_SECS: "0.5",
  SIDECAR_RECONNECT_DELAY_SECS: "0.2"
}

/** Asked more often than a C-core server forgives without data: it closes the connection at the fifth PING. */
const PROBES = 8

const startWorker = async (lab: Lab, options: PythonWorkerOptions = {}): Promise<PythonWorker> => {
  const worker = await PythonWorker.start(lab.socketPath, options)
  onTestFinished(() => worker.kill())
  return worker
}

/** What the log says of the status, besides that it is connected. */
const losses = (lab: Lab): ReadonlyArray<string> =>
  lab.sidecar.logs.all.map(({ msg }) => String(msg)).filter((line) => line.startsWith("worker not connected"))

const several = (count: number, plan: Call["plan"]): ReadonlyArray<Call> =>
  Array.from({ length: count }, (_, n) => ({ plan: { ...plan, mark: `${plan.mark}${n}` } }))

describe.skipIf(python === undefined).each(wires)(`a C-core worker on the %s wire${withoutPython}`, (wire) => {
  it(
    "is saturated, not lost, while all its threads sleep before their first token, and dead when it stands still",
    async () => {
      const lab = emptyLab({ wire, worker: false, env: HASTY })
      const worker = await startWorker(lab)
      const sidecar = await lab.startSidecar()
      await sidecar.connected()
      const running = calls(sidecar.address, ...several(12, { mark: "asleep", gate: true, tokens: 3 }))
      await sidecar.figures("many probes in vain", (figures) => figures.get(SATURATED) >= PROBES)
      const { body, status } = await sidecar.ready()
      expect(status).toBe(200)
      expect(body).toMatchObject({ ready: true, status: "connected", reason: "Saturated" })
      expect(body["detail"]).toMatch(/^saturated since 2/)
      expect(body["remedy"]).toContain("[server] max_worker_streams")
      expect((await sidecar.metrics()).get("sidecar_worker_saturated")).toBe(1)
      worker.openGate()
      expect((await running).map(({ code, ended, tokens }) => ({ code, ended, tokens }))).toEqual(
        Array.from({ length: 12 }, () => ({ code: 0, ended: true, tokens: 3 }))
      )
      // Nothing was sent twice, and the link is the first one.
      expect(worker.events.all.filter(({ event }) => event === "call")).toHaveLength(12)
      const figures = await sidecar.figures(
        "the worker answers",
        (figures) => figures.get("sidecar_worker_saturated") === 0
      )
      expect(figures.get("sidecar_streams_replayed_total")).toBe(0)
      expect(figures.get("sidecar_worker_reconnects_total")).toBe(0)
      expect(losses(lab)).toEqual([])

      const cut = calls(sidecar.address, ...several(10, { mark: "stopped", tokens: 1, hang: true }))
      await sidecar.figures("busy again", (figures) => figures.get("sidecar_worker_saturated") === 1)
      worker.signal("SIGSTOP")
      expect(String((await sidecar.log("worker not connected"))["msg"])).toMatch(
        /\(HealthTimeout\): no answer to Health within 0\.5s, 3 times in a row, and no acknowledgement of a PING/
      )
      expect((await cut).map((outcome) => [outcome.code, trailing(outcome, "cy-reason")])).toEqual(
        Array.from({ length: 10 }, () => [14, "worker_lost"])
      )
    },
    90_000
  )

  it("that stops politely costs no stream without a token, and tells the others what they have", async () => {
    const lab = emptyLab({ wire, worker: false, env: HASTY })
    const worker = await startWorker(lab, { threads: 4, grace: 1 })
    const sidecar = await lab.startSidecar()
    await sidecar.connected()
    const running = calls(sidecar.address, ...several(4, { mark: "running", tokens: 100_000, gap_ms: 20 }))
    for (let n = 0; n < 4; n++) await worker.told("call", `running${n}`)
    const waiting = calls(sidecar.address, ...several(4, { mark: "waiting", tokens: 3 }))
    await sidecar.figures(
      "eight streams",
      (figures) => figures.get("sidecar_active_connections") === 8 && figures.get("sidecar_tokens_processed_total") > 40
    )

    worker.signal("SIGTERM")
    await sidecar.log("said goodbye")
    const held = calls(sidecar.address, ...several(4, { mark: "new", tokens: 2 }))
    await sidecar.figures("the new ones wait", (figures) => figures.get("sidecar_streams_held") >= 4)
    await worker.exited
    const ends = await running
    for (const outcome of ends) {
      expect(outcome).toMatchObject({ code: 14, details: "Cancelling all calls" })
      expect(trailing(outcome, "cy-reason")).toBe("worker_lost")
      expect(trailing(outcome, "cy-chunks-delivered")).toBe(String(outcome.tokens))
      expect(trailing(outcome, "cy-safe-to-retry")).toBe("false")
      expect(outcome.tokens).toBeGreaterThan(0)
    }
    const next = await startWorker(lab)
    expect((await waiting).map(({ code, tokens }) => [code, tokens])).toEqual(Array.from({ length: 4 }, () => [0, 3]))
    expect((await held).map(({ code, tokens }) => [code, tokens])).toEqual(Array.from({ length: 4 }, () => [0, 2]))
    const marks = next.events.all.flatMap(({ mark }) => mark === undefined ? [] : [mark])
    expect(marks.toSorted()).toEqual([..."0123"].flatMap((n) => [`new${n}`, `waiting${n}`]).toSorted())
    const figures = await sidecar.settled()
    expect(figures.get("sidecar_stream_outcomes_total{outcome=\"worker_lost\"}")).toBe(4)
    expect(losses(lab)).toEqual([])
  }, 90_000)

  it("that renews its connections refuses no stream of eight gateways", async () => {
    const lab = emptyLab({ wire, worker: false })
    await startWorker(lab, {
      channelArgs: ["grpc.max_connection_age_ms=600", "grpc.max_connection_age_grace_ms=20000"]
    })
    const sidecar = await lab.startSidecar()
    await sidecar.connected()
    const { ok, others } = await churn(sidecar.address, { seconds: soak(20, 4), gateways: 8 })
    expect(others).toEqual([])
    const figures = await sidecar.settled()
    expect(figures.get("sidecar_requests_success_total")).toBe(ok)
    expect(figures.get("sidecar_worker_reconnects_total")).toBeGreaterThan(4)
    expect(losses(lab)).toEqual([])
  }, 90_000)
})
