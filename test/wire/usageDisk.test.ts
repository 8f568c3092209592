import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterEach, describe, expect, it } from "vitest"
import { eventually } from "../support/events.ts"
import { Lab } from "../support/lab.ts"
import { request } from "../support/protobuf.ts"
import { Sidecar } from "../support/sidecar.ts"

const closers: Array<() => unknown> = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

/** A file system of half a megabyte, where this user may mount one; `undefined` where not. */
const mountSmallDisk = (): string | undefined => {
  const place = fs.mkdtempSync(path.join(os.tmpdir(), "disk-"))
  if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=512k", "usage-test", place]).status === 0) return place
  fs.rmdirSync(place)
  return undefined
}
const unmount = (place: string): void => {
  spawnSync("umount", ["-l", place])
  fs.rmdirSync(place)
}
const probe = mountSmallDisk()
if (probe !== undefined) unmount(probe)

/** Runs `count` streams of `tokens` tokens, each of which must end well. */
const streams = async (lab: Lab, count: number, tokens: number): Promise<void> => {
  lab.worker.serveWith((call) => call.answer(tokens))
  for (let left = count; left > 0; left -= 50) {
    await Promise.all(Array.from({ length: Math.min(left, 50) }, async () => {
      const { code } = await lab.gateway.call({ requests: [request({ tenant: "acme" })] }).status
      expect(code).toBe(0)
    }))
  }
}

const journalOf = async (lab: Lab): Promise<unknown> => (await lab.sidecar.ready()).body["journal"]

describe("a sidecar whose journal cannot be written", () => {
  it.skipIf(probe === undefined)("serves on while the disk is full, says so, and records everything once it can", {
    timeout: 120_000
  }, async () => {
    const disk = mountSmallDisk()!
    closers.push(() => unmount(disk))
    const journal = path.join(disk, "usage.sqlite")
    const lab = new Lab({ env: { SIDECAR_JOURNAL_PATH: journal } })
    closers.push(() => lab.close())
    await lab.open()
    await streams(lab, 10, 3)
    expect(await journalOf(lab)).toMatchObject({ status: "ok", unsaved: 0 })

    const ballast = path.join(disk, "ballast")
    expect(() => fs.writeFileSync(ballast, Buffer.alloc(1 << 20))).toThrow(/ENOSPC/)
    let done = 10
    await eventually("the journal fails", async () => {
      await streams(lab, 50, 3)
      done += 50
      return (await lab.sidecar.metrics()).get("sidecar_journal_errors_total{reason=\"full\"}") > 0
        ? true
        : undefined
    })
    await streams(lab, 100, 3)
    done += 100
    const { body, status } = await lab.sidecar.ready()
    expect(status).toBe(200)
    expect(body["journal"]).toMatchObject({ status: "failing", reason: "full" })

    fs.rmSync(ballast)
    expect(spawnSync("mount", ["-o", "remount,size=16m", disk]).status).toBe(0)
    await eventually(
      "the journal is well",
      async () => JSON.stringify(await journalOf(lab)).includes("\"ok\"") ? true : undefined
    )
    const figures = await lab.sidecar.figures(
      "everything is recorded",
      (seen) =>
        seen.get("sidecar_usage_tokens{state=\"delivered\"}") === 3 * done
        && seen.get("sidecar_usage_records{state=\"unsaved\"}") === 0
    )
    expect(figures.get("sidecar_tokens_processed_total")).toBe(3 * done)
    const reader = new DatabaseSync(journal, { readOnly: true })
    const row = reader.prepare("SELECT COUNT(*) AS records, SUM(tokens_generated) AS tokens FROM records").get()
    reader.close()
    expect({ ...row }).toEqual({ records: done, tokens: 3 * done })
  })

  it("does not start beside another sidecar on the same journal: one line, the key, exit code 73", async () => {
    const lab = new Lab({ worker: false })
    closers.push(() => lab.close())
    await lab.open()
    const second = new Sidecar(fs.mkdtempSync(path.join(os.tmpdir(), "cy-")), {
      env: { SIDECAR_JOURNAL_PATH: path.join(lab.folder, "usage.sqlite") }
    })
    closers.push(() => fs.rmSync(second.folder, { recursive: true, force: true }), () => second.close())
    expect((await second.exited).code).toBe(73)
    expect(second.stderr).toHaveLength(1)
    expect(second.stderr[0]).toContain("[metering] journal_path")
    expect(second.stderr[0]).toContain(`process ${lab.sidecar.pid}`)
  })

  it("does not start on a path that can never work: one line, the key, exit code 78", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "cy-"))
    const sidecar = new Sidecar(folder, { env: { SIDECAR_JOURNAL_PATH: folder } })
    closers.push(() => fs.rmSync(folder, { recursive: true, force: true }), () => sidecar.close())
    expect((await sidecar.exited).code).toBe(78)
    expect(sidecar.stderr).toHaveLength(1)
    expect(sidecar.stderr[0]).toContain("[metering] journal_path")
  })

  it("sets a damaged journal aside, says so, and begins a fresh one", async () => {
    const lab = new Lab({})
    closers.push(() => lab.close())
    fs.writeFileSync(path.join(lab.folder, "usage.sqlite"), "damaged ".repeat(2000))
    await lab.open()
    const line = await lab.sidecar.log("was damaged")
    expect(line["level"]).toBe("error")
    await streams(lab, 1, 5)
    const aside = fs.readdirSync(lab.folder).filter((name) => name.includes(".corrupt-"))
    expect(aside).toHaveLength(1)
    expect(line["msg"]).toContain(aside[0])
    await lab.sidecar.figures("it is recorded", (seen) => seen.get("sidecar_usage_tokens{state=\"delivered\"}") === 5)
  })
})
