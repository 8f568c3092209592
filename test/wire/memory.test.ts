import { describe, expect, it } from "vitest"
import { expectBalanced, openLab } from "../support/lab.ts"
import { endOfStream, request, token } from "../support/protobuf.ts"
import { soak } from "../support/run/soak.ts"
import { wires } from "../support/sidecar.ts"

const MiB = 1024 * 1024
/** Messages of 1 kB that wait at the worker: many times what the sidecar may keep of them. */
const FLOOD = soak(300_000, 100_000)

describe.each(wires)("a gateway that stops reading, on the %s wire", (wire) => {
  it(`does not make the sidecar grow while the worker has ${FLOOD} messages of 1 kB, and gets them all when it reads`, async () => {
    const lab = await openLab({ wire })
    const warm = lab.gateway.call({ requests: [request()] })
    ;(await lab.worker.nextCall()).answer(1000)
    await warm.status
    const before = lab.sidecar.residentBytes()
    const call = lab.rawGateway().call({ requests: [request()], reading: false, keep: false })
    const served = await lab.worker.nextCall()
    served.burst(token(1, "x".repeat(1000)), FLOOD)
    served.send(endOfStream(FLOOD))
    await served.burstStalled.promise
    expect((lab.sidecar.residentBytes() - before) / MiB).toBeLessThan(32)
    expect(served.burstDone.settled()).toBe(false)
    call.readAll()
    await served.burstDone.promise
    served.end()
    await call.status
    expect(call.messages.all.length).toBe(FLOOD + 1)
    const figures = await lab.sidecar.settled()
    expectBalanced(figures)
    expect(figures.get("sidecar_tokens_processed_total")).toBe(FLOOD + 1000)
  })
})
