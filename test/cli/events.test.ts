import { describe, expect, it } from "vitest"
import { news } from "../../src/cli/events.ts"
import type { PastEvent } from "../../src/services/PastEvent.ts"
import { Program, run, startWorker, temporaryFolder } from "./program.ts"

const event = (change: Partial<PastEvent>): PastEvent => ({
  id: 1,
  revision: 1,
  at: "2026-01-02T08:00:00.000Z",
  kind: "refusals",
  level: "warn",
  reason: "draining",
  text: "streams are refused: draining",
  count: 1,
  lasting: true,
  seconds: 0,
  ...change
})

describe("sidecar events", () => {
  it("tells what happened with the reason that the log names, and goes on with --watch", async () => {
    const worker = await startWorker()
    const sidecar = new Program([], {
      cwd: temporaryFolder(),
      env: {
        SIDECAR_BIND_ADDR: "127.0.0.1:0",
        SIDECAR_METRICS_PORT: "0",
        SIDECAR_WORKER_UDS: worker.address,
        SIDECAR_RECONNECT_DELAY_SECS: "3600"
      }
    })
    const { address } = JSON.parse(await sidecar.line("gRPC server listening"))
    await sidecar.line("connected to worker")
    const following = new Program(["events", "--watch", "--json", "--addr", String(address)])
    await following.line("connected to worker")
    worker.program.child.kill("SIGKILL")
    const logged = JSON.parse(await sidecar.line("worker not connected")).msg
    const told = JSON.parse(await following.line("worker not connected"))
    expect(told).toMatchObject({ kind: "worker", level: "warn", text: logged, lasting: true, count: 1 })
    expect(logged).toContain(`(${told.reason})`)

    const people = await run(["events", "--addr", String(address)])
    expect(people.code).toBe(0)
    const [first, second] = people.stdout.trim().split("\n")
    expect(first).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ {2}worker {4}connected to worker \(lasted [\d.]+s\)$/)
    expect(second).toContain(`worker not connected (${told.reason})`)
  })

  it("prints a row of refusals for people when it begins and when it is over, for programs with each change", () => {
    const polls = [
      [event({})],
      [event({ revision: 9, count: 8 })],
      [event({ revision: 12, count: 10, lasting: false, seconds: 30 })],
      [event({ revision: 12, count: 10, lasting: false, seconds: 30 })],
      // Started again.
      [event({ id: 1, revision: 1 })]
    ]
    const printed = (json: boolean) => {
      const seen = { id: 0, revision: 0 }
      return polls.map((events) => news(events, seen, json).length)
    }
    expect(printed(false)).toEqual([1, 0, 1, 0, 0])
    expect(printed(true)).toEqual([1, 1, 1, 0, 0])
    const seen = { id: 5, revision: 20 }
    expect(news([event({})], seen, false)).toHaveLength(1)
    const aside = (change: Partial<PastEvent>) =>
      news([event({ id: 2, kind: "billing", reason: "set_aside", ...change })], seen, false)
    expect(aside({ revision: 2 })).toHaveLength(1)
    expect(aside({ revision: 40, count: 39 })).toHaveLength(0)
    expect(aside({ revision: 41, count: 39, lasting: false })).toHaveLength(1)
  })

  it("ends with 69 when no sidecar answers", async () => {
    const { code, stderr } = await run(["events", "--addr", "127.0.0.1:1"])
    expect(code).toBe(69)
    expect(stderr).toContain("no sidecar answers at 127.0.0.1:1")
  })
})
