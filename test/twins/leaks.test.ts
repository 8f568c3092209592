import { isDeepStrictEqual } from "node:util"
import { describe, expect, it } from "vitest"
import { eventually } from "../support/events.ts"
import { collect, type GatewayCall, trailer } from "../support/gateway.ts"
import { emptyLab, type Lab } from "../support/lab.ts"
import { request, tokens } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"
import type { TestWorker } from "../support/testWorker.ts"
import { activeResources, type Counts, noMoreThan, openFiles, scrapeAlone } from "../support/twins/resources.ts"

const ROUNDS = 5
/** Streams of each kind in a round. */
const EACH = 10

type Kind = "answered" | "cancelled" | "cut" | "sent again"

/** Answers what is to be answered, begins what is to be cut, and lets the rest wait. */
const attend = (worker: TestWorker, sentAgain: "wait" | "answer"): void =>
  worker.serveWith((call) => {
    const kind = call.headers["x-kind"]
    if (kind === "answered" || (kind === "sent again" && sentAgain === "answer")) call.answer(3)
    else if (kind !== "sent again") call.send(...tokens(2))
  })

/** Four kinds of streams from two gateways over one life of a worker, which ends by SIGKILL. */
const round = async (lab: Lab): Promise<void> => {
  attend(lab.worker, "wait")
  const said = lab.sidecar.logs.all.length
  const [library, bare] = [lab.newGateway(), lab.rawGateway()]
  const open = (kind: Kind): ReadonlyArray<GatewayCall> =>
    Array.from({ length: EACH }, (_, at) => {
      const options = { metadata: [["x-kind", kind]], requests: [request()] } as const
      return at % 2 === 0 ? library.call(options) : bare.call(options)
    })
  const [answered, cancelled, cut, sentAgain] = [open("answered"), open("cancelled"), open("cut"), open("sent again")]
  for (const call of answered) expect((await call.status).code).toBe(0)
  for (const call of [...cancelled, ...cut]) await call.messages.count(2, "tokens")
  for (const call of cancelled) call.cancel()
  await lab.worker.kill()
  for (const call of cut) expect(trailer(await call.status, "cy-reason")).toBe("worker_lost")
  await lab.sidecar.log("worker not connected", said)
  attend(await lab.startWorker(), "answer")
  for (const call of sentAgain) expect((await collect(call)).status.code).toBe(0)
  library.close()
  bare.destroy()
}

/** Another worker takes the socket while a stream runs; the old link goes when its stream has ended. */
const replace = async (lab: Lab): Promise<void> => {
  const gateway = lab.rawGateway()
  lab.worker.serveWith(undefined)
  const old = lab.worker
  const call = gateway.call({ requests: [request()] })
  const atOld = await old.nextCall()
  atOld.send(...tokens(1))
  await call.messages.count(1, "a token")
  const next = await lab.startWorker()
  await next.healthProbes.count(2, "probes of the new worker")
  atOld.answer(1, 1)
  expect((await call.status).code).toBe(0)
  gateway.destroy()
}

describe.each(wires)("a daemon on the %s wire", (wire) => {
  it(`has no file, socket, watch or timer more after ${4 * EACH * ROUNDS} streams, ${ROUNDS} killed workers and a replaced one`, async () => {
    // No probe but the first: what is open between them is no leak. The watch brings each new worker.
    const lab = emptyLab({ wire, env: { SIDECAR_CHECK_INTERVAL_SECS: "3600", SIDECAR_TRIP_AFTER: "1000000" } })
    await lab.startWorker()
    const sidecar = await lab.startSidecar()
    await sidecar.log("health check started")
    const files = openFiles(sidecar.pid)
    expect(files["socket"]).toBeGreaterThan(0)
    let open: Counts = {}
    const closed = () =>
      eventually("no more files than at first", () => {
        open = openFiles(sidecar.pid)
        return isDeepStrictEqual(open, files) ? true : undefined
      }).catch(() => expect(open).toEqual(files))

    // The first streams leave behind what stays: the one timer that all streams share.
    await round(lab)
    await closed()
    const resources = activeResources(await scrapeAlone(sidecar))
    expect(resources["Timeout"]).toBeGreaterThan(0)

    for (let n = 0; n < ROUNDS - 1; n++) await round(lab)
    await replace(lab)
    await closed()
    let active: Counts = {}
    await eventually("no more active resources than before", async () => {
      active = activeResources(await scrapeAlone(sidecar))
      return noMoreThan(active, resources) ? true : undefined
    }).catch(() => expect(active).toEqual(resources))
    const end = await scrapeAlone(sidecar)
    expect(end.get("sidecar_requests_total")).toBe(4 * EACH * ROUNDS + 1)
    expect(end.get("sidecar_worker_reconnects_total")).toBeGreaterThanOrEqual(ROUNDS)
    expect(end.get("sidecar_streams_replayed_total")).toBe(EACH * ROUNDS)
  })
})
