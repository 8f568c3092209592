import * as fs from "node:fs"
import { describe, expect, it, onTestFinished } from "vitest"
import { eventually } from "../support/events.ts"
import { Lab, type LabOptions } from "../support/lab.ts"
import { request } from "../support/protobuf.ts"
import type { Sidecar } from "../support/sidecar.ts"

const makeLab = (options: LabOptions = {}): Lab => {
  const lab = new Lab(options)
  onTestFinished(() => lab.close())
  return lab
}

/** Runs one stream of so many tokens, which must end well. */
const stream = async (lab: Lab, tokens: number): Promise<void> => {
  lab.worker.serveWith((call) => call.answer(tokens))
  const { code } = await lab.gateway.call({ requests: [request({ tenant: "acme" })] }).status
  expect(code).toBe(0)
}

/** Whether the journal has its thread, as the system sees it. */
const hasThread = ({ pid }: Sidecar): boolean =>
  fs.readdirSync(`/proc/${pid}/task`).some((task) =>
    fs.readFileSync(`/proc/${pid}/task/${task}/comm`, "utf8").trim() === "usage-journal"
  )

const stop = async (lab: Lab): Promise<void> => {
  lab.sidecar.signal("SIGTERM")
  expect(await lab.sidecar.exited).toEqual({ code: 0, signal: null })
  expect(fs.readdirSync(lab.folder).filter((name) => name.startsWith("usage")).toSorted()).toEqual([
    "usage.sqlite",
    "usage.sqlite.lock"
  ])
}

describe.skipIf(process.platform !== "linux")("a daemon that has carried no stream yet", () => {
  it("has no thread for its journal, tells what the file holds, and stops without a trace", async () => {
    const lab = makeLab()
    await lab.open()
    expect(hasThread(lab.sidecar)).toBe(false)
    await stream(lab, 7)
    expect(hasThread(lab.sidecar)).toBe(true)
    await stop(lab)

    await lab.startSidecar()
    await lab.sidecar.connected()
    for (let scrapes = 0; scrapes < 3; scrapes++) {
      const figures = await lab.sidecar.metrics()
      expect(figures.get("sidecar_usage_tokens{state=\"delivered\"}")).toBe(7)
      expect(figures.get("sidecar_usage_records{state=\"waiting\"}")).toBe(1)
    }
    const { body } = await lab.sidecar.ready()
    expect(body["journal"]).toMatchObject({ status: "ok", unsaved: 0 })
    expect(hasThread(lab.sidecar)).toBe(false)
    await stop(lab)
  })

  it("serves on when the system gives it no thread, says so, and counts in memory", async () => {
    // Node's own permissions stand for a limit of threads: root has none.
    const env = { NODE_OPTIONS: "--permission --allow-fs-read=* --allow-fs-write=*" }
    const lab = makeLab({ env })
    await lab.open()
    await stream(lab, 3)
    const journal = await eventually("the journal fails", async () => {
      const { body } = await lab.sidecar.ready()
      return JSON.stringify(body["journal"]).includes("failing") ? body["journal"] : undefined
    })
    expect(journal).toMatchObject({ status: "failing", reason: "stopped", unsaved: 1 })
    await stream(lab, 4)
    expect((await lab.sidecar.metrics()).get("sidecar_usage_tokens{state=\"delivered\"}")).toBe(7)
  })
})
