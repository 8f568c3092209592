import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, it, onTestFinished } from "vitest"
import { Program, run, startWorker, temporaryFolder } from "../cli/program.ts"
import { BillingServer, status } from "../support/billingServer.ts"
import { eventually } from "../support/events.ts"
import { GrpcJsGateway } from "../support/grpcJsGateway.ts"
import { request } from "../support/protobuf.ts"

type Json = Readonly<Record<string, unknown>>

/** What every witness says at one moment. */
interface Told {
  readonly log: ReadonlyArray<Json>
  readonly events: ReadonlyArray<Json>
  readonly page: Json & { readonly readiness: Json; readonly events: ReadonlyArray<Json> }
  readonly metrics: string
  readonly status: Json
}

const FLOOD = 200

it("in a bad night log, events, page, metrics and status tell the same story", async () => {
  const billing = await BillingServer.start()
  onTestFinished(() => billing.close())
  const worker = await startWorker("--tokens", "3", "--tokens-per-second", "0", "--reload-secs", "3")
  const cwd = temporaryFolder()
  const write = (text: string) => writeFileSync(join(cwd, "sidecar.toml"), text)
  const base = `[metering]\nbilling_endpoint = "${billing.url}"\nbatch_interval_secs = 0.2\n`
  write(base)
  const sidecar = new Program([], {
    cwd,
    env: {
      SIDECAR_BIND_ADDR: "127.0.0.1:0",
      SIDECAR_METRICS_HOST: "127.0.0.1",
      SIDECAR_METRICS_PORT: "0",
      SIDECAR_WORKER_UDS: worker.address,
      SIDECAR_RECONNECT_DELAY_SECS: "3600",
      SIDECAR_CHECK_INTERVAL_SECS: "0.5"
    }
  })
  const ops = `http://${JSON.parse(await sidecar.line("metrics server listening")).address}`
  const address = String(JSON.parse(await sidecar.line("gRPC server listening")).address)
  await sidecar.line("connected to worker")
  const gateway = new GrpcJsGateway(address)
  onTestFinished(() => gateway.close())
  const ask = () => gateway.call({ requests: [request({ model: "qwen-7b" })] }).status

  const look = async (): Promise<Told> => ({
    log: sidecar.out.all.map((line) => JSON.parse(line) as Json),
    events: (await run(["events", "--json", "--addr", address])).stdout.trim().split("\n").map((line) =>
      JSON.parse(line) as Json
    ),
    page: await (await fetch(`${ops}/api/status`)).json() as Told["page"],
    metrics: await (await fetch(`${ops}/metrics`)).text(),
    status: JSON.parse((await run(["status", "--json", "--addr", address])).stdout) as Json
  })
  const metric = (told: Told, series: string): number =>
    Number(told.metrics.split("\n").find((line) => line.startsWith(`${series} `))?.split(" ").at(-1))
  /** The last event of a kind: that of `sidecar events`, which the page has too, in words that the log has too. */
  const last = (told: Told, kind: string): Json => {
    const event = told.events.filter((one) => one["kind"] === kind).at(-1)
    const shown = told.page.events.filter((one) => one["kind"] === kind).at(-1)
    expect([shown?.["id"], shown?.["reason"]]).toEqual([event?.["id"], event?.["reason"]])
    return event ?? {}
  }

  // A good minute.
  expect((await ask()).code).toBe(0)

  // The worker loads another model.
  worker.program.child.kill("SIGUSR1")
  await sidecar.line("worker is reloading")
  const reload = await look()
  expect(last(reload, "reload")).toMatchObject({ reason: "Reloading", lasting: true })
  expect(reload.page.readiness).toMatchObject({ status: "reloading", reason: "Reloading" })
  expect(reload.status).toMatchObject({ worker_state: "Reloading" })
  expect(metric(reload, "sidecar_worker_status{state=\"reloading\"}")).toBe(1)
  await eventually(
    "it is back",
    async () => (await (await fetch(`${ops}/readyz`)).json() as Json)["status"] === "connected" ? true : undefined
  )
  expect((await ask()).code).toBe(0)

  // The billing service fails, and recovers.
  billing.behave(() => status(503))
  expect((await ask()).code).toBe(0)
  await sidecar.line("no report can be delivered")
  const unpaid = await look()
  const trouble = last(unpaid, "billing")
  expect(trouble).toMatchObject({ reason: "failing", level: "warn" })
  expect(unpaid.log.map((line) => line["msg"])).toContain(trouble["text"])
  expect(unpaid.page.readiness["billing"]).toMatchObject({ status: "failing" })
  expect(metric(unpaid, "sidecar_usage_reports_total{result=\"retry\"}")).toBeGreaterThan(0)
  billing.behave(() => status(200))
  await sidecar.line("reports are accepted again")

  // The worker is killed, and a flood comes.
  worker.program.child.kill("SIGKILL")
  await sidecar.line("worker not connected")
  const refusals = await Promise.all(Array.from({ length: FLOOD }, ask))
  expect(new Set(refusals.map(({ code }) => code))).toEqual(new Set([14]))
  // Lines are written some at a time.
  await eventually("a line for each refusal", async () => {
    const ended = sidecar.out.all.filter((line) =>
      line.includes("stream ended") && line.includes("worker_disconnected")
    )
    return ended.length >= FLOOD ? true : undefined
  })
  const outage = await look()
  const gone = last(outage, "worker")
  expect(gone).toMatchObject({ level: "warn", lasting: true })
  expect(outage.log.map((line) => line["msg"])).toContain(gone["text"])
  expect(outage.page.readiness).toMatchObject({
    status: "disconnected",
    reason: gone["reason"],
    new_streams: "refused"
  })
  expect(outage.status).toMatchObject({ worker_state: "Disconnected", worker_reason: gone["reason"] })
  expect(metric(outage, "sidecar_worker_status{state=\"disconnected\"}")).toBe(1)
  const turnedAway = { outcome: "refused", reason: "worker_disconnected", grpc_status: 14, record_id: null }
  expect(last(outage, "refusals")).toMatchObject({ reason: "worker_disconnected", count: FLOOD })
  expect(outage.page["refusals"]).toEqual([["worker_disconnected", FLOOD]])
  expect(metric(outage, "sidecar_refusals_total{reason=\"worker_disconnected\"}")).toBe(FLOOD)
  const lines = outage.log.filter((line) => line["msg"] === "stream ended" && line["outcome"] === "refused")
  expect(lines).toHaveLength(FLOOD)
  for (const line of lines) expect(line).toMatchObject(turnedAway)

  // The configuration is read again: once wrong, once right.
  write(`${base}[reload]\nhold_timeout_secs = "soon"\n`)
  sidecar.child.kill("SIGHUP")
  await sidecar.line("configuration not taken")
  expect(last(await look(), "config")).toMatchObject({ reason: "rejected", level: "warn" })
  write(`${base}[reload]\nhold_timeout_secs = 20\n\n[observability]\nlog_format = "pretty"\n`)
  sidecar.child.kill("SIGHUP")
  await sidecar.line("needs a restart to change: log_format")
  const changed = await look()
  expect(last(changed, "config")).toMatchObject({ reason: "needs_restart" })
  expect(last(changed, "config")["text"]).toContain("changed: hold_timeout_secs (30 → 20)")
  expect(changed.page["config"]).toMatchObject({ hold_timeout_secs: 20 })
})
