import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, it } from "vitest"
import { Program, run, startWorker, temporaryFolder } from "./program.ts"

it("a sidecar that runs is told what to do, and takes new settings without a restart", async () => {
  const worker = await startWorker()
  const cwd = temporaryFolder()
  const env = { SIDECAR_BIND_ADDR: "127.0.0.1:0", SIDECAR_METRICS_PORT: "0", SIDECAR_WORKER_UDS: worker.address }
  const write = (text: string) => writeFileSync(join(cwd, "sidecar.toml"), text)
  write("[reload]\nhold_timeout_secs = 30\n")
  const sidecar = new Program([], { cwd, env })
  const addr = ["--addr", String(JSON.parse(await sidecar.line("gRPC server listening")).address)]
  await sidecar.line("connected to worker")

  // SIGHUP
  write("[reload]\nhold_timeout_secs = 20\n\n[metering]\ndurability = \"power-loss\"\n")
  const compared = await run(["check", "--running", ...addr], { cwd, env })
  expect(compared.stdout.trim().split("\n")).toEqual([
    "running → here",
    "[reload] hold_timeout_secs: 30 → 20  (sidecar reload)",
    "[metering] durability: \"crash\" → \"power-loss\"  (needs a restart)"
  ])
  expect(compared.code).toBe(1)
  sidecar.child.kill("SIGHUP")
  expect(JSON.parse(await sidecar.line("configuration read again"))).toMatchObject({ hold_timeout_secs: "30 → 20" })
  await sidecar.line("needs a restart to change: durability")

  // A mistake
  write("[reload]\nhold_timeout_secs = \"soon\"\n")
  const wrong = await run(["reload", ...addr])
  expect(wrong.stderr).toBe(
    "sidecar: sidecar.toml: [reload] hold_timeout_secs: expected a positive number, got \"soon\"\n"
  )
  expect(wrong.code).toBe(78)

  // What it does
  write("[reload]\nhold_timeout_secs = 10\n")
  expect((await run(["reload", ...addr])).stdout).toBe("[reload] hold_timeout_secs: 20 → 10\n")
  expect((await run(["reload", ...addr])).stdout).toBe("nothing has changed\n")
  const same = await run(["check", "--running", ...addr], { cwd, env })
  expect([same.code, same.stdout]).toEqual([0, "The sidecar that runs has these settings in force.\n"])
  expect((await run(["log-level", "debug", ...addr])).stdout).toMatch(/^log level: info → debug, until/)
  expect((await run(["drain", ...addr])).code).toBe(0)
  expect((await run(["predict", ...addr, "--model", "m", "hi"])).stderr).toContain("draining")
  expect((await run(["undrain", ...addr])).code).toBe(0)
  expect((await run(["reconnect", ...addr])).code).toBe(0)
  // A debug line: the level has changed.
  await sidecar.line("dialling the worker")
  const { stdout } = await run(["events", ...addr])
  expect(stdout).toMatch(/config {4}configuration not taken, the one in force stays: .*hold_timeout_secs/)
  expect(stdout).toMatch(/drain {5}draining: new streams are refused/)
  expect(sidecar.child.exitCode).toBeNull()
})

it("a reload that comes while it starts ends nothing, and is done when it has started", async () => {
  const sidecar = new Program([], {
    cwd: temporaryFolder(),
    env: { SIDECAR_BIND_ADDR: "127.0.0.1:0", SIDECAR_METRICS_PORT: "0" }
  })
  await sidecar.line("starting cy-llm-sidecar")
  sidecar.child.kill("SIGHUP")
  await sidecar.line("gRPC server listening")
  await sidecar.line("configuration read again; nothing changed")
})
