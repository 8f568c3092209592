import { describe, expect, it, onTestFinished } from "vitest"
import { emptyLab } from "../support/lab.ts"
import { control } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"
import { calls, callsByHealth, python, PythonWorker, trailing, withoutPython } from "./python.ts"

describe.skipIf(python === undefined).each(wires)(`health on the %s wire${withoutPython}`, (wire) => {
  it(
    "lets a C-core gateway that follows it ride through a reload, and turns it away when there is no room",
    async () => {
      const lab = emptyLab({ wire, worker: false, env: { SIDECAR_MAX_HELD_STREAMS: "1" } })
      const worker = await PythonWorker.start(lab.socketPath)
      onTestFinished(() => worker.kill())
      const sidecar = await lab.startSidecar()
      await sidecar.connected()
      const tell = async (command: string, payload: Readonly<Record<string, string>> = {}) => {
        const call = lab.gateway.call({ path: "/cy.llm.AiInference/Control", requests: [control(command, payload)] })
        expect(await call.status).toMatchObject({ code: 0 })
      }

      // One channel: its first stream runs when the reload begins, its second one comes in the reload.
      const follower = callsByHealth(
        sidecar.address,
        { plan: { mark: "before", gate: true, tokens: 1 } },
        { plan: { mark: "during", tokens: 3 }, after: 0 }
      )
      await worker.told("call", "before")
      await tell("sidecar.reloading", { eta_seconds: "20" })
      expect(await sidecar.ready()).toMatchObject({
        status: 200,
        body: { ready: true, status: "reloading", new_streams: "held" }
      })
      worker.openGate()
      await sidecar.figures("it is held", (figures) => figures.get("sidecar_streams_held") === 1)

      // The one place is taken.
      expect(await sidecar.ready()).toMatchObject({ status: 503, body: { ready: false, new_streams: "refused" } })
      const check = lab.gateway.call({ path: "/grpc.health.v1.Health/Check", requests: [Buffer.alloc(0)] })
      const [answer] = (await check.status, check.messages.all)
      expect(answer).toEqual(Buffer.from([8, 2]))
      const [refused] = await calls(sidecar.address, { plan: { mark: "heedless" } })
      expect([refused!.code, trailing(refused!, "cy-reason")]).toEqual([8, "hold_full"])
      expect(Number(trailing(refused!, "grpc-retry-pushback-ms"))).toBeGreaterThan(0)
      // Its own library refuses it: the sidecar is not asked.
      const [turnedAway] = await callsByHealth(sidecar.address, { plan: { mark: "follower" } })
      expect([turnedAway!.code, trailing(turnedAway!, "cy-reason")]).toEqual([14, undefined])

      await tell("sidecar.ready")
      expect((await follower).map(({ code, ended, tokens }) => ({ code, ended, tokens }))).toEqual([
        { code: 0, ended: true, tokens: 1 },
        { code: 0, ended: true, tokens: 3 }
      ])
      expect(await sidecar.ready()).toMatchObject({ status: 200, body: { status: "connected" } })
      const marks = worker.events.all.filter(({ event }) => event === "call").map(({ mark }) => mark)
      expect(marks).toEqual(["before", "during"])
    },
    60_000
  )
})
